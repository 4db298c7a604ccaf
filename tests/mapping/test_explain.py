"""A mapping's roofline against the engine's own figures and against plain arithmetic."""

import pytest

from crisp_loop.accelerators import load_accelerator, problem_for
from crisp_loop.core.gemm import Gemm, dense
from crisp_loop.core.mappings import Mapped
from crisp_loop.mapping.explain import Explanation, explain
from crisp_loop.mapping.objective import OBJECTIVES
from crisp_loop.mapping.search import best_mapping

WIDE = Gemm("wide", 1, 256, 512, 196, dense(256 * 512), 0.6)
TALL = Gemm("tall", 1, 1000, 2048, 1, dense(2048000), 0.6)
"""A vector: every weight is used once, so memory must bind."""


def explained(design: str, gemm: Gemm, **changes: object) -> Explanation:
    accelerator = load_accelerator(design).model_copy(update=changes)
    problem = problem_for(accelerator, gemm)
    best = best_mapping(accelerator, problem, objective=OBJECTIVES["cycles-energy"])
    mapped = Mapped(loops=tuple(best.nest.compact()))
    found = explain(accelerator, problem, mapped, (gemm.layer,))
    assert found.cycles == best.cycles
    assert found.energy_uJ == pytest.approx(best.energy_pJ * 1e-6, rel=1e-12)
    return found


def test_the_lowest_roof_is_the_speed() -> None:
    for design in ("dense", "dstc", "s2ta"):
        for gemm in (WIDE, TALL):
            found = explained(design, gemm)
            lowest = min(found.arithmetic_roof, *found.memory_roofs.values())
            assert found.speed == pytest.approx(lowest, rel=1e-3)
            assert found.arithmetic_roof <= found.peak * (1 + 1e-9)
            assert sum(found.energy_shares.values()) == pytest.approx(1)


def test_roofs_are_bandwidth_times_intensity() -> None:
    """By hand: a vector product reads each weight once, and DRAM gives 32 words a cycle."""
    found = explained("dense", TALL)
    assert found.computes == 1000 * 2048
    assert found.peak == 256
    # Inputs are 2048 words beside 2,048,000 weights; SMEM writes at 21 words a cycle.
    assert found.memory_roofs["DRAM"] == pytest.approx(32, rel=0.01)
    assert found.memory_roofs["SMEM"] == pytest.approx(21, rel=0.03)
    assert found.bottleneck == "SMEM"
    assert "SMEM sets the pace" in found.why
    assert max(found.energy_shares, key=lambda name: found.energy_shares[name]) == "DRAM"


def test_a_full_array_says_so() -> None:
    found = explained("dense", WIDE)
    assert found.bottleneck == "arithmetic"
    assert found.utilization == pytest.approx(1)
    assert "every lane busy" in found.why


def test_without_bandwidths_only_the_arithmetic_binds() -> None:
    design = load_accelerator("dense")
    levels = tuple(
        level.model_copy(update={"read_bandwidth": None, "write_bandwidth": None})
        for level in design.levels
    )
    found = explained("dense", TALL, levels=levels)
    assert found.memory_roofs == {}
    assert found.bottleneck == "arithmetic"
    # 1000 rows over 4 cores of 16 rows: 40 of 64 rows work at best.
    assert f"{1 - found.arithmetic_roof / 256:.1%} of the lanes idle" in found.why
