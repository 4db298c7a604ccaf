"""Properties: a batch is its mappings one by one, and the figures obey what must hold."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.spec import Spec, load_spec
from crisp_loop.sparseloop import IllegalMappingError, evaluate, evaluate_mappings

GOLDEN = Path(__file__).parents[1] / "golden"
SPECS = {
    name: load_spec(GOLDEN / name / "spec.yaml")
    for name in (
        "dense-conv4-3x3",
        "stc24-conv4-3x3",
        "crisp24-b64-conv4-3x3",
        "crisp14-b32-conv4-3x3",
        "dstc-d14-conv2-3x3",
        "dstc-hyper-d50-small",
    )
}
SLOTS = {
    "R": [("DRAM", "temporal"), ("SMEM", "temporal"), ("SMEM", "spatial")],
    "M": [("DRAM", "temporal"), ("SMEM", "temporal"), ("SMEM", "spatial"), ("RF", "temporal")],
    "N": [("DRAM", "temporal"), ("SMEM", "temporal"), ("LRF", "temporal")],
    "Q": [("DRAM", "temporal"), ("SMEM", "temporal")],
    "K": [("DRAM", "temporal"), ("SMEM", "temporal"), ("RF", "temporal")],
}
slow = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def factors_of(spec: Spec) -> dict[tuple[str, str], dict[str, int]]:
    return {
        (each["target"], each["type"]): {word[0]: int(word[2:]) for word in each["factors"].split()}
        for each in spec.sections["mapping"]
        if "factors" in each
    }


def with_factors(spec: Spec, factors: dict[tuple[str, str], dict[str, int]]) -> Spec:
    sections = copy.deepcopy(spec.sections)
    for each in sections["mapping"]:
        if "factors" in each:
            chosen = factors[each["target"], each["type"]]
            each["factors"] = " ".join(f"{dim}={factor}" for dim, factor in chosen.items())
    return Spec(spec.source, sections)


def resplit(
    spec: Spec, rng: np.random.Generator, broken: float = 0.02
) -> dict[tuple[str, str], dict[str, int]]:
    """The spec's mapping with the factors of each dimension dealt out anew over its slots."""
    factors = factors_of(spec)
    for dim, slots in SLOTS.items():
        slots = [slot for slot in slots if slot in factors]
        total = int(np.prod([factors[slot][dim] for slot in slots]))
        for slot in slots:
            factors[slot][dim] = 1
        prime = 2
        while total > 1:
            while total % prime == 0:
                factors[slots[rng.integers(len(slots))]][dim] *= prime
                total //= prime
            prime += 1
        if rng.random() < broken:
            factors[slots[0]][dim] *= 3
    return factors


def outcome(spec: Spec) -> tuple[str, Evaluation | None]:
    try:
        return "", evaluate(spec)
    except IllegalMappingError as refusal:
        return str(refusal), None


def stacked(each: list[dict[tuple[str, str], dict[str, int]]]) -> dict[Any, dict[str, Any]]:
    return {
        slot: {dim: np.array([one[slot][dim] for one in each]) for dim in dims}
        for slot, dims in each[0].items()
    }


@slow
@given(name=st.sampled_from(sorted(SPECS)), seed=st.integers(0, 2**32 - 1))
def test_batch_is_one_by_one(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    choices = [resplit(SPECS[name], rng) for _ in range(12)] + [factors_of(SPECS[name])]
    batch = evaluate_mappings(SPECS[name], stacked(choices))
    assert batch.legal[-1]
    for index, factors in enumerate(choices):
        refused, single = outcome(with_factors(SPECS[name], factors))
        assert batch.legal[index] == (single is not None)
        assert batch.reasons[index] == refused
        if single is None:
            assert batch.cycles[index] == 0
            assert np.isnan(batch.energy_pJ[index])
        else:
            assert batch.cycles[index] == single.cycles
            assert batch.energy_pJ[index] * 1e-6 == pytest.approx(single.energy_uJ, rel=1e-12)


def test_batch_without_arrays_is_the_spec_itself() -> None:
    spec = SPECS["crisp24-b64-conv4-3x3"]
    batch = evaluate_mappings(spec, {})
    assert batch.cycles.tolist() == [evaluate(spec).cycles]


def test_large_batches_are_cut_without_a_seam() -> None:
    spec = SPECS["crisp24-b64-conv4-3x3"]
    rng = np.random.default_rng(0)
    choices = [resplit(spec, rng, 0.2) for _ in range(50)]
    rows = rng.integers(0, len(choices), 10_000)
    few, many = stacked(choices), stacked([choices[row] for row in rows])
    one, all_of = evaluate_mappings(spec, few), evaluate_mappings(spec, many)
    assert np.array_equal(all_of.cycles, one.cycles[rows])
    assert np.array_equal(all_of.energy_pJ, one.energy_pJ[rows], equal_nan=True)
    assert all_of.reasons == tuple(one.reasons[row] for row in rows)


def test_sections_that_change_in_place_are_read_again() -> None:
    sections = copy.deepcopy(SPECS["dense-conv4-3x3"].sections)
    before = evaluate(Spec("same", sections))
    for action in sections["ERT"]["tables"][0]["actions"]:
        action["energy"] *= 2
    assert evaluate(Spec("same", sections)).energy_uJ > before.energy_uJ
    sections["mapping"][0]["type"] = "diagonal"
    for _ in range(2):
        with pytest.raises(Exception, match=r"same: mapping\[0\].type"):
            evaluate(Spec("same", sections))


@slow
@given(
    name=st.sampled_from(sorted(SPECS)),
    level=st.sampled_from(["DRAM", "SMEM"]),
    bandwidths=st.lists(st.floats(0.5, 200), min_size=2, max_size=2).map(sorted),
)
def test_more_bandwidth_never_costs_cycles(name: str, level: str, bandwidths: list[float]) -> None:
    cycles, energy = [], []
    for bandwidth in bandwidths:
        sections = copy.deepcopy(SPECS[name].sections)
        node = sections["architecture"]
        while not any(each["name"] == level for each in node.get("local", [])):
            node = node["subtree"][0]
        attributes = node["local"][0]["attributes"]
        attributes |= {"read_bandwidth": bandwidth, "write_bandwidth": bandwidth}
        found = evaluate(Spec("memory", sections))
        cycles.append(found.cycles)
        energy.append(found.energy_uJ)
    assert cycles[0] >= cycles[1]
    assert energy[0] == energy[1]


@pytest.mark.parametrize(
    "name", ["crisp14-b64-conv4-3x3", "crisp24-b32-conv4-3x3", "crisp34-b64-conv5-1x1"]
)
def test_computes_of_the_hybrid_pattern_are_its_nonzeros_times_n(name: str) -> None:
    spec = load_spec(GOLDEN / name / "spec.yaml")
    instance = spec.sections["problem"]["instance"]
    weights = instance["R"] * instance["M"] * instance["Q"] * instance["K"]
    nonzeros = weights * instance["densities"]["A"]["density"]
    found = evaluate(spec)
    # Timeloop rounds the operand's density to six digits before it counts.
    assert found.compute.actual == pytest.approx(nonzeros * instance["N"], rel=1e-5)
    assert found.level("DRAM").tensors["A"].reads.actual == nonzeros


@slow
@given(seed=st.integers(0, 2**32 - 1))
def test_children_together_fill_at_least_what_their_parent_reads(seed: int) -> None:
    spec = SPECS["dense-conv4-3x3"]
    try:
        found = evaluate(with_factors(spec, resplit(spec, np.random.default_rng(seed), broken=0)))
    except IllegalMappingError:
        return
    smem, dram = found.level("SMEM").tensors, found.level("DRAM").tensors
    lrf = found.level("LRF").tensors["A"]
    for tensor in "AB":
        assert smem[tensor].fills.actual == dram[tensor].reads.actual
    # Cores share A by multicast only, so copies are whole multiples.
    assert lrf.fills.actual * lrf.instances % smem["A"].reads.actual == 0
    partial_sums = found.level("RF").tensors["Z"]
    assert partial_sums.updates.actual - partial_sums.reads.actual >= 0
    assert found.compute.actual == found.compute.algorithmic


def test_unknown_slots_dimensions_and_uneven_arrays_are_named() -> None:
    spec = SPECS["dense-conv4-3x3"]
    two = np.array([1, 1])
    for factors, part in (
        ({("L2", "temporal"): {"N": two}}, "L2 temporal"),
        ({("DRAM", "temporal"): {"X": two}}, "'X'"),
        ({("DRAM", "temporal"): {"N": two, "M": np.array([1])}}, "lengths"),
    ):
        with pytest.raises(Exception, match=part):
            evaluate_mappings(spec, factors)
