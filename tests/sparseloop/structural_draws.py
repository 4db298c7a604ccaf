"""Random specs of the four designs' structure, written section by section and not by the templates.

They reach what no template writes today: spare ranks, flattened groups, shared bandwidths, leakage.
"""

from __future__ import annotations

import math
import random
from typing import Any

DIMS = "RMNQK"
Spec = dict[str, Any]


def draw_structure(rng: random.Random) -> Spec:
    """One spec: a design, its numbers, a GEMM and a mapping, most of them legal."""
    design = rng.choice(["dense", "stc", "crisp", "crisp", "dstc", "dstc"])
    outer_product = design == "dstc"
    cores = rng.choice([(1, 1), (1, 4), (4, 1), (2, 2), (1, 2)])
    lanes = rng.choice([(8, 8), (4, 16), (16, 4), (2, 8), (4, 8), (7, 8)])
    bounds, slots = _loops(rng, design, cores, lanes)
    return {
        "architecture": _architecture(rng, outer_product, cores, lanes),
        "ERT": _energies(rng, outer_product, cores, lanes),
        "problem": _problem(rng, design, bounds),
        **_sparse(rng, design, slots),
        "mapping": _mapping(rng, outer_product, slots),
    }


def _split(rng: random.Random, value: int, parts: int) -> list[int]:
    """``value`` as a product of ``parts`` random factors."""
    factors = [1] * parts
    left, prime = value, 2
    while left > 1:
        while left % prime == 0:
            factors[rng.randrange(parts)] *= prime
            left //= prime
        prime += 1
    return factors


def _loops(
    rng: random.Random, design: str, cores: tuple[int, int], lanes: tuple[int, int]
) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """Bounds, and a slot's factors, order and split."""
    slots: dict[str, dict[str, Any]] = {}
    for name in ("DRAM", "SMEM", "SMEM spatial", "RF", "PE spatial", "LRF"):
        order = "".join(rng.sample(DIMS, 5))
        slots[name] = {"factors": dict.fromkeys(DIMS, 1), "order": order}
    for name, fanout in (("SMEM spatial", cores), ("PE spatial", lanes)):
        slot = slots[name]
        slot["split"] = rng.randrange(6)
        dims = {"dense": "MNK", "stc": "MK", "crisp": "MK", "dstc": "MN"}[design]
        if name == "SMEM spatial":
            dims = "RMN"
        for axis, positions in enumerate((range(slot["split"]), range(slot["split"], 5))):
            free = [slot["order"][at] for at in positions if slot["order"][at] in dims]
            room = fanout[axis]
            if free and room > 1:
                dim = rng.choice(free)
                factor = rng.choice([each for each in range(1, room + 1) if room % each == 0])
                factor = rng.choice([room, factor])
                # Spatial skipping lets more candidates than lanes into a row.
                if dim == "K" and design in ("stc", "crisp") and name == "PE spatial":
                    factor *= rng.choice([1, 2, 4])
                slot["factors"][dim] = factor
    temporal = ["DRAM", "SMEM", "RF", "LRF"]
    for dim in DIMS:
        size = rng.choice([1, 2, 4, 6, 8, 12, 16, 49, 64, 9])
        if dim == "R":
            size = rng.choice([1, 1, 2, 4])
        if dim == "Q":
            size = rng.choice([1, 3, 9, 24, 5]) if design == "crisp" else 1
        if design in ("dense", "stc", "dstc") and dim in "MNK" and rng.random() < 0.5:
            size *= rng.choice([2, 3, 4, 9])
        # The innermost store holds an operand or a small outer product.
        innermost = {"dstc": "MN"}.get(design, "N")
        for name, factor in zip(temporal, _split(rng, size, len(temporal)), strict=True):
            strange = name == "LRF" and dim not in innermost and rng.random() < 0.9
            slots["RF" if strange else name]["factors"][dim] *= factor
    bounds = {dim: math.prod(slot["factors"][dim] for slot in slots.values()) for dim in DIMS}
    return bounds, slots


def _architecture(
    rng: random.Random, outer_product: bool, cores: tuple[int, int], lanes: tuple[int, int]
) -> Spec:
    count, per_core = cores[0] * cores[1], lanes[0] * lanes[1]
    core_mesh = {"meshX": cores[0], "meshY": cores[1]}
    lane_mesh = {"meshX": cores[0] * lanes[0], "meshY": cores[1] * lanes[1]}

    def bandwidths(*choices: float | None) -> Spec:
        chosen = {key: rng.choice(choices) for key in ("read_bandwidth", "write_bandwidth")}
        return {key: value for key, value in chosen.items() if value is not None}

    dram = {
        **{"type": "LPDDR4", "width": 64, "datawidth": 8, "cluster_size": 1},
        "metadata_storage_width": 64,
        **bandwidths(4, 8, 32, 32, 100, None),
    }
    smem = {
        **{"datawidth": 8, "data_storage_width": rng.choice([64, 128, 256, 256])},
        "data_storage_depth": rng.choice([512, 8192, 65536]),
        **{"n_banks": 2, "n_rdwr_ports": 2, "cluster_size": 1},
        "metadata_storage_depth": rng.choice([1024, 8192, 262144]),
        "metadata_storage_width": rng.choice([48, 48, 64, 12]),
        **bandwidths(4, 12, 21, 21, 42, None),
        **rng.choice([{}, {}, {}, {"shared_bandwidth": rng.choice([5, 33.5])}]),
    }
    rf = {
        **{"datawidth": 8, "data_storage_depth": rng.choice([1024, 65536])},
        **{"data_storage_width": rng.choice([8, 8, 16]), "n_banks": 1, "n_rdwr_ports": 2},
        **core_mesh,
        **bandwidths(None, None, None, 64, 7),
    }
    lrf = {
        **{"datawidth": 8, "data_storage_depth": rng.choice([64, 4096]), "data_storage_width": 8},
        **{"metadata_storage_depth": 4096, "metadata_storage_width": 8},
        **(core_mesh if outer_product else lane_mesh),
    }
    if rng.random() < 0.1:
        lrf |= {"metadata_datawidth": 4}
        smem["read_bandwidth"] = 7.3
    mac = {"datawidth": 8, **lane_mesh}
    storage = {"class": "storage", "subclass": "SRAM_MD"}
    local = [{"name": "RF", **storage, "attributes": rf}]
    inner = [
        {"name": "LRF", **storage, "attributes": lrf},
        {"name": "MAC", "class": "compute", "attributes": mac},
    ]
    core: Spec = {"name": f"Core[0..{count - 1}]", "local": local}
    if outer_product:
        inner[1]["name"] = f"MAC[0..{per_core - 1}]"
        local.extend(inner)
    else:
        core["subtree"] = [{"name": f"PE[0..{per_core - 1}]", "local": inner}]
    shared = {"name": "SMEM", **storage, "attributes": smem}
    chip = {"name": "SM", "local": [shared], "subtree": [core]}
    memory = {"name": "DRAM", "class": "DRAM", "attributes": dram}
    system = {"name": "system", "local": [memory], "subtree": [chip]}
    return {"version": 0.3, "subtree": [system]}


def _energies(
    rng: random.Random, outer_product: bool, cores: tuple[int, int], lanes: tuple[int, int]
) -> Spec:
    core = f"system.SM.Core[0..{cores[0] * cores[1] - 1}]"
    units = f"[0..{lanes[0] * lanes[1] - 1}]"
    inner = core if outer_product else f"{core}.PE{units}"
    mac = f"{inner}.MAC{units}" if outer_product else f"{inner}.MAC"
    actions = ["read", "write"]
    more = ["gated_read", "gated_write", "metadata_read", "metadata_write"]
    more += ["gated_metadata_read", "gated_metadata_write"]
    tables = []
    for name in ("system.DRAM", "system.SM.SMEM", f"{core}.RF", f"{inner}.LRF"):
        wanted = actions + (more if name != "system.DRAM" or rng.random() < 0.5 else [])
        wanted = wanted + (["leak"] if rng.random() < 0.1 else [])
        tables.append({"name": name, "actions": [_action(rng, each) for each in wanted]})
    macs = [_action(rng, each) for each in ("mac_random", "mac_gated", "mac_skipped")]
    tables.append({"name": mac, "actions": macs})
    return {"version": 0.3, "tables": tables}


def _action(rng: random.Random, name: str) -> Spec:
    return {"name": name, "arguments": None, "energy": round(rng.uniform(0.01, 100), 4)}


def _problem(rng: random.Random, design: str, bounds: dict[str, int]) -> Spec:
    b_axes = "RNQK" if design == "crisp" else "NQK"
    spaces = [
        {"name": "A", "projection": [[[dim]] for dim in "RMQK"]},
        {"name": "B", "projection": [[[dim]] for dim in b_axes]},
        {"name": "Z", "projection": [[[dim]] for dim in "RMN"], "read_write": True},
    ]
    instance: Spec = dict(bounds)
    nm = rng.choice([0.25, 0.5, 0.75])
    unstructured = rng.choice([0.03, 0.1, 0.14, 0.2, 0.37, 0.5, 1 / 3, 0.9, 1.0])
    a_size = math.prod(bounds[dim] for dim in "RMQK")
    b_size = math.prod(bounds[dim] for dim in b_axes)
    small = max(a_size, b_size) <= 2048 and rng.random() < 0.5
    distribution = "hypergeometric" if small else "fixed_structured"
    if design in ("stc", "crisp"):
        instance["densities"] = {"A": {"distribution": "fixed_structured", "density": nm}}
    elif design == "dstc":
        other = rng.choice([0.6, 0.4, 1.0, 0.05])
        instance["densities"] = {
            "A": {"distribution": distribution, "density": unstructured},
            "B": {"distribution": distribution, "density": other},
        }
    shape = {"name": "gemm", "dimensions": list(DIMS), "data_spaces": spaces}
    return {"shape": shape, "instance": instance}


def _sparse(rng: random.Random, design: str, slots: dict[str, dict[str, Any]]) -> Spec:
    if design == "dense":
        return {}
    bits = {"payload_word_bits": rng.choice([0, 0, 0, 3])}

    def rank(name: str, metadata: int | None = None, dims: str = "") -> Spec:
        more: Spec = {} if metadata is None else {"metadata_word_bits": metadata}
        if dims:
            more["flattened_rankIDs"] = [list(dims)]
        return {"format": name, **more, **bits}

    def format_of(tensor: str, ranks: list[Spec]) -> Spec:
        return {"name": tensor, "rank_application_order": "inner_to_outer", "ranks": ranks}

    def targets(spaces: dict[str, list[Spec]]) -> list[Spec]:
        return [
            {"name": name, "representation_format": {"data_spaces": formats}}
            for name, formats in spaces.items()
        ]

    if design == "dstc":
        m, n, k = ("M", "N", "K") if rng.random() < 0.7 else ("MK", "KN", "KRQ")
        spaces: dict[str, list[Spec]] = {"DRAM": [], "SMEM": [], "LRF": []}
        for tensor, dim in (("A", m), ("B", n)):
            inner = [rank("B", 0, dim), rank("B", 1, dim)]
            middle = [rank("B", 1, k), *inner]
            if rng.random() < 0.2:
                inner = [rank("CP", 2), rank("CP", 3), rank("B", 1)]
                middle = [rank("B", 1), *inner]
            spaces["DRAM"].append(format_of(tensor, [rank("UOP")] * 8 + middle))
            spaces["SMEM"].append(format_of(tensor, [rank("UOP")] * 6 + middle))
            spaces["LRF"].append(format_of(tensor, inner))
        result = targets(spaces)
        skip = {"type": "skipping", "target": "Z", "condition_on": ["A", "B"]}
        result.append({"name": rng.choice(["RF", "RF", "LRF"]), "action_optimization": [skip]})
        if rng.random() < 0.4:
            target, condition = rng.choice(["AB", "BA"])
            more = {"type": "skipping", "target": target, "condition_on": [condition]}
            result.append({"name": rng.choice(["SMEM", "LRF"]), "action_optimization": [more]})
        if rng.random() < 0.8:
            result.append({"name": "MAC", "compute_optimization": [{"type": "skipping"}]})
        return {"sparse_optimizations": {"targets": _merged(result)}}

    crisp = design == "crisp"
    offset, empty = rank("CP", 2), rank("CP", 0)
    index = rank("CP", rng.choice([3, 6, 5, 8])) if crisp else rank("UOP")
    inner = empty if crisp else rank("UOP")
    spaces = {
        "DRAM": [format_of("A", [rank("UOP")] * 8 + [index] + [inner] * 3 + [offset])],
        "SMEM": [format_of("A", [rank("UOP")] * 6 + [index] + [inner] * 3 + [offset])],
    }
    if rng.random() < 0.7:
        spaces["LRF"] = [format_of("A", [rank("CP", rng.choice([2, 2, None]))])]
    else:
        spaces["LRF"] = [format_of("A", [inner] * 3 + [offset])]
    kind = rng.choice(["skipping_spatial"] * 5 + ["skipping"])
    actions = [
        {"type": kind, "target": target, "condition_on": ["A"]}
        for target in rng.choice(["BZ", "BZ", "BZ", "B", "Z"])
    ]
    result = [*targets(spaces), {"name": "RF", "action_optimization": actions}]
    if rng.random() < 0.15:
        more = {"type": "skipping", "target": "B", "condition_on": ["A"]}
        result.append({"name": "SMEM", "action_optimization": [more]})
    return {"sparse_optimizations": {"targets": _merged(result)}}


def _merged(targets: list[Spec]) -> list[Spec]:
    """One entry a level and kind."""
    merged: list[Spec] = []
    for target in targets:
        same = [each for each in merged if each.keys() == target.keys()]
        old = next((each for each in same if each["name"] == target["name"]), None)
        if old is not None and "action_optimization" in target:
            old["action_optimization"] += target["action_optimization"]
        else:
            merged.append(target)
    return merged


def _mapping(
    rng: random.Random, outer_product: bool, slots: dict[str, dict[str, Any]]
) -> list[Spec]:
    mapping: list[Spec] = []

    def directive(target: str, kind: str, slot: dict[str, Any]) -> None:
        factors = " ".join(f"{dim}={factor}" for dim, factor in slot["factors"].items())
        entry: Spec = {"target": target, "type": kind, "factors": factors}
        entry["permutation"] = slot["order"]
        if kind == "spatial":
            entry["split"] = slot["split"]
        mapping.append(entry)

    for name in ("DRAM", "SMEM", "RF", "LRF"):
        directive(name, "temporal", slots[name])
    if any(factor > 1 for factor in slots["SMEM spatial"]["factors"].values()):
        directive("SMEM", "spatial", slots["SMEM spatial"])
    directive("LRF" if outer_product else "RF", "spatial", slots["PE spatial"])
    keeps = {"SMEM": "AB", "RF": "Z", "LRF": "AB" if outer_product else "A"}
    if rng.random() < 0.15:
        keeps["SMEM"] = "ABZ"
    for name, keep in keeps.items():
        bypass = [each for each in "ABZ" if each not in keep]
        mapping.append({"target": name, "type": "bypass", "keep": list(keep), "bypass": bypass})
    return mapping
