"""Random specs out of the project's own templates: perturbed designs, any GEMM, any loop nest.

Whatever ``arch/*.yaml`` may say and the mapper may choose is drawn: hierarchies, meshes, depths,
widths, bandwidths, prices, what levels keep, formats and SAFs of a mode, loop orders and splits.
The data classes judge the draws, so each is a spec that a user can render.
"""

from __future__ import annotations

import math
import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

from crisp_loop.accelerators import Accelerator, Problem, available, load_accelerator, problem_for
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import parse_yaml
from crisp_loop.core.gemm import Gemm, WeightSparsity, dense
from crisp_loop.core.loops import DIMENSIONS, LoopNest, Loops
from crisp_loop.core.pattern import NM, SUPPORTED_BLOCKS, SUPPORTED_NM, blocks_to_keep
from crisp_loop.render import render_spec
from crisp_loop.render.spec import tensor_axes

Data = dict[str, Any]
TENSORS = "ABZ"
RARELY, SOMETIMES, OFTEN = 0.06, 0.3, 0.6


def draw_rendered(rng: random.Random) -> Data:
    """The sections of one spec: a perturbed design, a GEMM and a mapping, most of them legal."""
    design = perturbed(rng, load_accelerator(rng.choice(available())))
    problem = None
    while problem is None:
        with suppress(CrispLoopError):  # too few lanes for the pattern
            problem = problem_for(design, gemm(rng))
    problem = distributed(rng, problem)
    texts = render_spec(design, problem, nest(rng, design, problem))
    sections: Data = {}
    for file, text in texts.items():
        sections |= parse_yaml(text, file)
    return sections


def distributed(rng: random.Random, problem: Problem) -> Problem:
    """``problem``, with hypergeometric densities in some cases, rarely in large and slow ones."""
    largest = max(
        math.prod(problem.bounds[dim] for dim in dims) for dims in tensor_axes(problem).values()
    )
    share = 0.2 if largest <= 4096 else 0.03 if largest <= 32_768 else 0.002
    if rng.random() >= share:
        return problem
    mode = problem.mode.model_copy(update={"distribution": "hypergeometric"})
    return replace(problem, mode=mode)


def gemm(rng: random.Random) -> Gemm:
    """A layer in any of the forms that lowering knows."""
    form = rng.choice(["dense", "nm", "nm", "unstructured", "hybrid", "hybrid", "hybrid"])
    groups = rng.choice([1, 1, 1, 2, 4, 12]) if form != "hybrid" else 1
    n = rng.choice([1, 4, 8, 14, 16, 32, 48, 49, 64, 96, 98, 196])
    nm = NM.parse(rng.choice(SUPPORTED_NM))
    activations = rng.choice([1.0, 0.6, 0.6, 0.4, 0.05, 0.85])
    rows = rng.choice([1, 4, 8, 16, 24, 32, 48, 64, 128])
    columns = rng.choice([4, 8, 16, 36, 64, 72, 96, 144, 256, 27, 1])
    size = rows * columns * groups
    if form == "hybrid":
        block = rng.choice(SUPPORTED_BLOCKS)
        rows, blocks = rng.choice([1, 2, 3, 4, 8]), rng.choice([2, 3, 4, 8, 9, 18, 36, 72])
        kept = blocks_to_keep(blocks, nm, rng.choice([0.5, 0.8, 0.85, 0.9, 0.93]))
        density = kept / blocks * float(nm.density)
        size, rows, columns = rows * blocks * block**2, rows * block, blocks * block
        weight = WeightSparsity("hybrid", round(size * density), density, nm, block, kept, blocks)
    elif form == "dense":
        weight = dense(size)
    elif form == "nm":
        weight = WeightSparsity("nm", round(size * nm.density), float(nm.density), nm)
    else:
        density = rng.choice([0.02, 0.08, 0.14, 0.2, 0.37, 0.5, 1 / 3, 0.9, 1.0])
        weight = WeightSparsity("unstructured", round(size * density), density)
    return Gemm("drawn", groups, rows, columns, n, weight, activations)


def perturbed(rng: random.Random, base: Accelerator) -> Accelerator:
    """``base`` with other numbers, another hierarchy and other features."""
    data = base.model_dump()
    data["levels"] = list(data["levels"])
    if rng.random() < SOMETIMES:
        _add_level(rng, data)
    _resize(rng, data)
    for level in data["levels"]:
        _perturb_level(rng, level)
    data["compute"]["energy"] = {each: _price(rng) for each in data["compute"]["energy"]}
    for mode in data["modes"]:
        _perturb_mode(rng, mode, data["levels"])
    data["dataflow"] = _slots(rng, data)
    return Accelerator.model_validate(data)


def _add_level(rng: random.Random, data: Data) -> None:
    """A copy of an SRAM level between two others, in the node of either."""
    at = rng.randrange(1, len(data["levels"]))
    extra = {**data["levels"][at], "name": "EXTRA"}
    data["levels"].insert(at, extra)
    below = data["levels"][at + 1]["name"]
    node = next(node for node in data["tree"] if below in node["holds"])
    held = list(node["holds"])
    held.insert(held.index(below), "EXTRA")
    node["holds"] = held


def _resize(rng: random.Random, data: Data) -> None:
    """Another number of instances a node; meshes follow."""
    x = y = 1
    for depth, node in enumerate(data["tree"]):
        fans_out = node["count"] > 1 or (depth == 1 and rng.random() < RARELY)
        if fans_out:
            few = [(1, 4), (4, 1), (2, 2), (1, 2), (1, 3), (1, 1)]
            many = [(4, 16), (16, 4), (8, 8), (2, 8), (4, 8), (7, 8), (1, 64), (5, 1)]
            dx, dy = rng.choice(many if node["count"] > 4 else few)
            node["count"] = dx * dy
            x, y = x * dx, y * dy
        for level in data["levels"]:
            if level["name"] in node["holds"]:
                level["mesh"] = (x, y)
    compute = data["compute"]
    if compute["count"] > 1:
        dx, dy = rng.choice([(8, 8), (4, 16), (16, 4), (2, 8), (7, 8), (1, 8), (8, 3)])
        compute["count"], x, y = dx * dy, x * dx, y * dy
    compute["mesh"] = (x, y)


def _perturb_level(rng: random.Random, level: Data) -> None:
    """Other sizes, speeds, prices and keeps for one level."""
    dram = level["kind"] == "DRAM"
    level["datawidth"] = rng.choice([8, 8, 8, 16, 4])
    blocks = [1, 2, 4, 8, 16, 32] if dram or level["name"] == "SMEM" else [1, 1, 1, 1, 2, 4]
    level["width"] = level["datawidth"] * rng.choice(blocks)
    if not dram:
        generous = [level["depth"] * 4, 65536, 262144]
        level["depth"] = rng.choice([level["depth"], *generous, *generous])
    if level["metadata"] or rng.random() < SOMETIMES:
        width = rng.choice([64, 48, 48, 12, 8, 7])
        depth = None if dram else rng.choice([1, 64, 5461, 262144, 262144, None])
        level["metadata"] = {"width": width, "depth": depth}
    for key in ("read_bandwidth", "write_bandwidth"):
        own = level[key]
        level[key] = rng.choice([own, own, None, 4, 7.3, 12, 21, 33.5, 64, 100])
    if not dram and rng.random() < SOMETIMES:
        level["keep"] = tuple(each for each in TENSORS if rng.random() < OFTEN)
    actions = ["read", "write", "metadata_read", "metadata_write"]
    if rng.random() < SOMETIMES:
        actions += [f"gated_{each}" for each in actions]
    level["energy"] = {each: _price(rng) for each in actions}


def _price(rng: random.Random) -> float:
    return rng.choice([round(rng.uniform(0.01, 2), 4), round(rng.uniform(1, 600), 3)])


def _perturb_mode(rng: random.Random, mode: Data, levels: list[Data]) -> None:
    """Other features; formats stand wherever their tensor is kept, as their chain demands."""
    if rng.random() < SOMETIMES / 2:
        mode["compute_optimization"] = rng.choice(["skipping", None])
    if rng.random() < SOMETIMES and mode["formats"]:
        level = rng.choice(levels)["name"]
        conditions = [form["tensor"] for form in mode["formats"]]
        action = {
            "level": level,
            "type": rng.choice(["skipping", "skipping", "skipping_spatial"]),
            "target": rng.choice(TENSORS),
            "condition_on": (rng.choice(conditions),),
        }
        same_level = {each["type"] for each in mode["actions"] if each["level"] == level}
        if same_level <= {action["type"]}:
            mode["actions"] = (*mode["actions"], action)
    if rng.random() < SOMETIMES / 2 and mode["actions"]:
        mode["actions"] = tuple(rng.sample(mode["actions"], len(mode["actions"]) - 1))
    for form in mode["formats"]:
        keepers = [level for level in levels if form["tensor"] in level["keep"]]
        for level in keepers:
            level["metadata"] = level["metadata"] or {"width": 48, "depth": 262144}
            if level["kind"] == "SRAM" and rng.random() < SOMETIMES:
                level["metadata"]["depth"] = 262144
        form["levels"] = tuple(level["name"] for level in keepers)
        if rng.random() < RARELY:
            form["rule"] = rng.choice(["offsets", "bitmap"])
            form["levels"] = form["levels"][: rng.randint(1, len(keepers))]


def _slots(rng: random.Random, data: Data) -> list[Data]:
    """Temporal loops at most levels, spatial ones where instances fan out; any order and split."""
    given = {(slot["level"], slot["kind"]): slot for slot in data["dataflow"]}
    levels, slots = data["levels"], []
    meshes = [*(level["mesh"] for level in levels), data["compute"]["mesh"]]
    for at, level in enumerate(levels):
        orders = ("".join(rng.sample(DIMENSIONS, 5)),)
        temporal = given.get((level["name"], "temporal"))
        if temporal or rng.random() < SOMETIMES:
            dims = dict(temporal["dims"]) if temporal else dict.fromkeys(DIMENSIONS)
            if rng.random() < SOMETIMES or level["name"] == "DRAM":
                dims |= dict.fromkeys(DIMENSIONS)
            slots.append(
                {"level": level["name"], "kind": "temporal", "dims": dims, "orders": orders}
            )
        fanout = math.prod(meshes[at + 1]) // math.prod(meshes[at])
        spatial = given.get((level["name"], "spatial"))
        if spatial or fanout > 1:
            free = set(spatial["dims"]) if spatial else {"M", "N"}
            if rng.random() < SOMETIMES:
                free |= {rng.choice(DIMENSIONS)}
            if any(mode["lanes_hold_candidates"] for mode in data["modes"]) and fanout > 4:
                free |= {"K"}
            slots.append(
                {
                    **{"level": level["name"], "kind": "spatial", "total": fanout},
                    "dims": {dim: fanout for dim in DIMENSIONS if dim in free},
                    "orders": ("".join(rng.sample(DIMENSIONS, 5)),),
                    "split": rng.randrange(6),
                }
            )
    return slots


def nest(rng: random.Random, design: Accelerator, problem: Problem) -> LoopNest:
    """Any way to deal out the bounds: lanes first, the rest to the temporal slots."""
    left = dict(problem.bounds)
    taken: list[dict[str, int]] = [dict.fromkeys(DIMENSIONS, 1) for _ in design.dataflow]
    names = [*(level.name for level in design.levels), design.compute.name]
    meshes = [*(level.mesh for level in design.levels), design.compute.mesh]
    for factors, slot in zip(taken, design.dataflow, strict=True):
        if slot.kind != "spatial":
            continue
        at = names.index(slot.level)
        order, split = slot.orders[0], slot.split or 0
        for axis, dims in enumerate((order[:split], order[split:])):
            room = meshes[at + 1][axis] // meshes[at][axis]
            free = [dim for dim in dims if dim in slot.dims]
            rng.shuffle(free)
            for dim in free:
                limit = room
                if dim == "K" and problem.pattern and problem.mode.lanes_hold_candidates:
                    limit = max(room, problem.pattern.m * (room // problem.pattern.n))
                fits = [each for each in range(1, limit + 1) if left[dim] % each == 0]
                factor = max(fits) if rng.random() < 0.75 else rng.choice(fits)
                factors[dim] = factor
                left[dim] //= factor
                room //= factor
                if room < 2:
                    break
    temporal = [at for at, slot in enumerate(design.dataflow) if slot.kind == "temporal"]
    for dim, bound in left.items():
        allowed = [at for at in temporal if dim in design.dataflow[at].dims]
        # The innermost stores are small.
        weights = [3 if design.dataflow[at].level in ("DRAM", "SMEM") else 1 for at in allowed]
        for prime in _primes(bound):
            (at,) = rng.choices(allowed, weights)
            taken[at][dim] *= prime
    return LoopNest(
        tuple(
            Loops(level=slot.level, kind=slot.kind, factors=factors, order=slot.orders[0])
            for slot, factors in zip(design.dataflow, taken, strict=True)
        )
    )


def _primes(number: int) -> list[int]:
    """Prime factors, ascending."""
    primes, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            primes.append(divisor)
            number //= divisor
        divisor += 1
    return primes
