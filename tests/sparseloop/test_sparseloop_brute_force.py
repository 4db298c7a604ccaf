"""The model against a machine that runs tiny cases step by step, with real masks and indices."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from brute_force import Machine, Real
from hypothesis import given, settings
from hypothesis import strategies as st
from structural_draws import draw_structure

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.gathers import Gather, unions
from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop import evaluate
from crisp_loop.sparseloop.parse import parse

STEPS = 3000


def tiny(seed: int) -> Iterator[Spec]:
    """Legal random specs that take few steps, of designs without links between compute units."""
    rng = random.Random(seed)
    while True:
        spec = Spec(f"draw {seed}", draw_structure(rng))
        bounds = [spec.sections["problem"]["instance"][dim] for dim in "RMNQK"]
        if math.prod(bounds) > STEPS or "hypergeometric" in str(spec.sections["problem"]):
            continue
        try:
            evaluate(spec)
        except CrispLoopError:
            continue
        nest = parse(spec).nest
        if not any(nest.loops[at].spatial for at in nest.within(0, 0)):
            yield spec


@cache
def gathering(seed: int) -> Spec:
    """One with block-rows that gather their inputs."""
    for spec in tiny(seed):
        problem = parse(spec).problem
        if "R" in problem.tensors[1].dims and min(problem.bounds["R"], problem.bounds["Q"]) > 1:
            return spec
    raise AssertionError


def instances(spec: Spec, level: int) -> int:
    design = parse(spec)
    nest = design.nest
    above = range(nest.ends[level], len(nest.loops))
    return math.prod(design.given[at] for at in above if nest.loops[at].spatial)


def mask_of(spec: Spec, rng: np.random.Generator) -> Real | None:
    """Non-zeros of A: exactly as many as the density says, in groups of four where K has them."""
    given = spec.sections["problem"]["instance"].get("densities", {}).get("A")
    if given is None:
        return None
    sizes = [spec.sections["problem"]["instance"][dim] for dim in sorted("RMQK")]
    count = math.prod(sizes) * given["density"]
    if not float(count).is_integer():
        return None
    if sizes[0] % 4 == 0:  # K is the first of the dimensions in alphabetical order
        groups = np.argsort(rng.random((math.prod(sizes) // 4, 4)), axis=1) < 4 * given["density"]
        mask = np.moveaxis(groups.reshape(*sizes[1:], sizes[0]), -1, 0)
    else:
        mask = (rng.permutation(math.prod(sizes)) < count).reshape(sizes)
    return lambda element: element if mask[element] else None


def compare(spec: Spec, machine: Machine, found: Evaluation, actual: set[str]) -> None:
    """Every count of every level; those in ``actual`` after compression, the others before it."""
    for level, stats in enumerate(found.levels):
        for name, tensor in stats.tensors.items():
            counted = machine.counts[level, name]
            for kind in ("reads", "fills", "updates"):
                modelled, total = getattr(tensor, kind), getattr(counted, kind)
                where = f"{stats.name} {name} {kind}: {total} counted, {modelled} modelled"
                number = instances(spec, level)
                if name in actual:
                    # An instance whose tile is empty counts as not in use, and an instance's
                    # mean count is a whole number.
                    figure = modelled.actual * tensor.instances
                    assert figure == pytest.approx(total, abs=number), where
                else:
                    assert modelled.algorithmic * number == total, where


@pytest.mark.parametrize("seed", range(15))
def test_traffic_is_that_of_a_machine(seed: int) -> None:
    spec = next(tiny(seed))
    compare(spec, Machine(spec).run(), evaluate(spec), set())


def groups_across_lanes(spec: Spec) -> bool:
    """Whether each lane holds one weight, and whole groups of four lie side by side."""
    design = parse(spec)
    factors = dict.fromkeys(("inside", "across"), 1)
    for loop, factor in zip(design.nest.loops, design.given, strict=True):
        if loop.dim == "K" and loop.level == 0:
            factors["inside"] *= factor
        if loop.dim == "K" and loop.level == 1 and loop.spatial:
            factors["across"] *= factor
    return factors["inside"] == 1 and factors["across"] % 4 == 0


@pytest.mark.parametrize("seed", range(100, 112))
def test_compressed_weights_are_the_non_zeros(seed: int) -> None:
    for spec in tiny(seed):
        design = parse(spec)
        stored = {(level, 0) for level, keeps in enumerate(design.nest.keeps) if keeps[0]}
        mask = mask_of(spec, np.random.default_rng(seed))
        if mask is None or not stored <= design.optimizations.formats.keys():
            continue
        if not groups_across_lanes(spec):
            continue
        machine, found = Machine(spec, {"A": mask}).run(), evaluate(spec)
        compare(spec, machine, found, {"A"})
        if any(saf.target == 1 for saf in design.optimizations.spatial_skipping):
            assert found.compute.actual == machine.effectual
        return


@pytest.mark.parametrize("seed", range(200, 215))
def test_gathered_inputs_are_unions_over_resident_tiles(seed: int) -> None:
    spec = gathering(seed)
    rng = np.random.default_rng(seed)
    sizes = spec.sections["problem"]["instance"]
    pool = sizes["Q"] + int(rng.integers(0, sizes["Q"] + 1))
    rows = [np.sort(rng.permutation(pool)[: sizes["Q"]]) for _ in range(sizes["R"])]
    indices = np.array(rows, dtype=np.int64)
    axes = sorted("RNQK")

    def real(element: tuple[int, ...]) -> tuple[int, ...]:
        at = dict(zip(axes, element, strict=True))
        return (int(indices[at["R"], at["Q"]]), at["K"], at["N"])

    machine = Machine(spec, {"B": real}).run()
    exact = evaluate(replace(spec, gathers=(Gather(indices),)))
    bound = evaluate(spec)
    compare(spec, machine, exact, set())
    assert exact.cycles <= bound.cycles
    assert exact.energy_uJ <= bound.energy_uJ
    # Where rows share nothing, the upper bound is the truth.
    apart = np.arange(indices.size, dtype=np.int64).reshape(indices.shape)
    assert evaluate(replace(spec, gathers=(Gather(apart),))) == bound


def test_tiles_of_several_block_rows_share_blocks() -> None:
    """The machine's cases do not all come out at the upper bound."""
    saved = 0
    for seed in range(200, 215):
        spec = gathering(seed)
        sizes = spec.sections["problem"]["instance"]
        same = np.tile(np.arange(sizes["Q"], dtype=np.int64), (sizes["R"], 1))
        exact = evaluate(replace(spec, gathers=(Gather(same),)))
        reads = [each.level("DRAM").tensors["B"].reads.actual for each in (exact, evaluate(spec))]
        assert reads[0] <= reads[1]
        saved += reads[0] < reads[1]
    assert saved >= 3


@settings(deadline=None)
@given(st.data())
def test_unions_are_sets(data: st.DataObject) -> None:
    rows, places = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    height, width = rows * data.draw(st.integers(1, 3)), places * data.draw(st.integers(1, 3))
    table = np.array(
        data.draw(
            st.lists(
                st.lists(st.integers(0, 9), min_size=width, max_size=width),
                min_size=height,
                max_size=height,
            )
        )
    )
    found = unions(table, rows, places)
    for i, j in np.ndindex(found.shape):
        tile = table[i * rows : (i + 1) * rows, j * places : (j + 1) * places]
        assert found[i, j] == len(set(tile.flat))
    assert Gather(table).touched(rows, places) == found.sum()
    with pytest.raises(ValueError, match="do not divide"):
        unions(table, height + 1, places)


def test_gathers_that_do_not_fit_are_refused() -> None:
    spec = gathering(200)
    sizes = spec.sections["problem"]["instance"]
    table = np.zeros((sizes["R"], sizes["Q"]), dtype=np.int64)
    for gather, words in (
        (Gather(table[:, :-1]), "the bounds of R and Q"),
        (Gather(table, tensor="C"), "the tensors are A, B, Z"),
        (Gather(table, tensor="Z", places="N"), "N"),
        (Gather(table, tensor="A"), "compressed"),
        (Gather(table, rows="M"), "expected dimensions of B"),
    ):
        with pytest.raises(CrispLoopError, match=words):
            evaluate(replace(spec, gathers=(gather,)))
