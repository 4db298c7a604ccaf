"""How a design runs a GEMM: the Sparseloop problem it becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, comb, log2

import numpy as np

from crisp_loop.accelerators.schema import Accelerator, LaneQuantisation, Mode
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import sha256
from crisp_loop.core.gathers import Gather
from crisp_loop.core.gemm import Gemm
from crisp_loop.core.loops import LoopNest
from crisp_loop.core.pattern import NM, blocks_over


@dataclass(frozen=True)
class Problem:
    """One Sparseloop problem: Z[r,m,n] += A[r,m,q,k] * B[(r,)n,q,k]."""

    mode: Mode
    bounds: dict[str, int]
    """Bound of R (block-row or group), M, N, Q (kept block) and K."""
    gathered: bool
    """Whether B has an R axis: each block-row, or each group, reads inputs of its own."""
    densities: dict[str, float]
    """Density model a tensor; tensors that are not named are dense."""
    pattern: NM | None
    """The N:M pattern that the hardware sees; None when it sees none."""
    index_bits: int
    """Bits of a block index, ceil(log2(K/B)) with K/B rounded up; 0 unless compact."""
    offset_bits: int
    """Bits of an offset inside a group of M; 0 without a pattern."""
    metadata_bits: int
    """Metadata of the stored weights in this design's format, exactly."""
    cycle_correction: float
    """Factor on the arithmetic's cycles for what Sparseloop cannot express; 1.0 for none."""
    gather: Gather | None = None
    """Which blocks of B the block-rows really read; None to count each block-row's as its own."""

    def lanes(self, multipliers: int) -> int:
        """Largest K that lies across ``multipliers`` lanes."""
        if self.pattern is None or not self.mode.lanes_hold_candidates:
            return multipliers
        return self.pattern.m * (multipliers // self.pattern.n)

    def padded(self, n: int) -> Problem:
        """The same problem with N grown to ``n`` columns; the new ones are computed for nothing."""
        return replace(self, bounds=self.bounds | {"N": n})

    @property
    def skipped_in_time(self) -> tuple[str, ...]:
        """Tensors whose zeros take no cycle of the arithmetic."""
        if self.mode.compute_optimization == "skipping":
            return tuple(self.densities)
        leaders = {
            tensor
            for action in self.mode.actions
            if action.type == "skipping"
            for tensor in action.condition_on
        }
        return tuple(tensor for tensor in self.densities if tensor in leaders)

    @property
    def lane_step(self) -> int:
        """K across the lanes is a multiple of this: selection works on whole groups of M."""
        return self.pattern.m if self.pattern and self.mode.lanes_hold_candidates else 1

    @property
    def key(self) -> str:
        """A name for the mapping tables: two GEMMs with one key share their mappings."""
        bounds = " ".join(f"{dim}{bound}" for dim, bound in self.bounds.items())
        parts = [self.mode.name, bounds]
        parts += [f"{tensor}={density:.6g}" for tensor, density in self.densities.items()]
        if self.gather is not None:
            parts.append(f"indices={sha256(self.gather.indices.tobytes())[:12]}")
        return ("gathered " if self.gathered else "") + " ".join(parts)


def problem_for(accelerator: Accelerator, gemm: Gemm, exact: bool = False) -> Problem:
    """The problem that ``gemm`` becomes on ``accelerator``.

    A compact problem holds whole blocks: where B does not divide M or K, the padding of kept blocks
    is computed for nothing, and stored.

    Args:
        accelerator: The design.
        gemm: The layer.
        exact: Whether a compact problem knows which blocks its block-rows read, where its mask
            told.

    Raises:
        CrispLoopError: no mode of the design takes the layer.
    """
    mode = _mode_for(accelerator, gemm)
    weight = gemm.weight
    pattern = (mode.runs_as or weight.nm) if "pattern" in mode.densities.values() else None
    lanes = accelerator.lanes()
    if pattern and mode.lanes_hold_candidates and (lanes is None or pattern.n > lanes):
        raise CrispLoopError(
            f"{accelerator.name}: mode {mode.name!r} holds the candidates of {pattern} in"
            f" {lanes or 0} lanes; expected at least {pattern.n} for layer {gemm.layer!r}."
        )
    bounds = {"R": gemm.groups, "M": gemm.M, "N": gemm.N, "Q": 1, "K": gemm.K}
    index_bits = 0
    gather = None
    if mode.problem == "compact":
        assert weight.block is not None
        assert weight.kept_blocks is not None
        bounds |= {
            "R": blocks_over(gemm.groups * gemm.M, weight.block),
            "M": weight.block,
            "Q": weight.kept_blocks,
            "K": weight.block,
        }
        index_bits = ceil(log2(blocks_over(gemm.K, weight.block)))
        if exact and weight.block_indices:
            gather = Gather(np.array(weight.block_indices, dtype=np.int64))
    values = {
        "pattern": float(pattern.density) if pattern else 1.0,
        "weight": weight.density,
        "activation": gemm.activation_density,
    }
    densities = {tensor: values[whose] for tensor, whose in mode.densities.items()}
    return Problem(
        mode=mode,
        bounds=bounds,
        gathered=gemm.groups > 1 or mode.problem == "compact",
        densities=densities,
        pattern=pattern,
        index_bits=index_bits,
        offset_bits=ceil(log2(pattern.m)) if pattern else 0,
        metadata_bits=_metadata_bits(mode, gemm, bounds, pattern, index_bits),
        cycle_correction=_lane_correction(accelerator.lane_quantisation, densities),
        gather=gather,
    )


def check_nest(accelerator: Accelerator, problem: Problem, nest: LoopNest) -> None:
    """Refuse a mapping that was not made for this problem on this design.

    Raises:
        CrispLoopError: its slots are not those of the dataflow, or its factors do not multiply to
            the problem's bounds (N may be more: columns are added).
    """
    slots = [(slot.level, slot.kind) for slot in accelerator.dataflow]
    if [(loops.level, loops.kind) for loops in nest.loops] != slots:
        raise CrispLoopError(
            f"mapping/{accelerator.name}.yaml: the mapping of {problem.key} has other slots than"
            f" the dataflow, {', '.join(f'{level} {kind}' for level, kind in slots)}; run the"
            " mapping stage again."
        )
    for dimension, bound in problem.bounds.items():
        made = nest.bound(dimension)
        if made < bound or (made > bound and dimension != "N"):
            raise CrispLoopError(
                f"mapping/{accelerator.name}.yaml: the mapping of {problem.key} has {dimension}"
                f" {made} times, not {bound}; run the mapping stage again."
            )


def _mode_for(accelerator: Accelerator, gemm: Gemm) -> Mode:
    for mode in accelerator.modes:
        accepts = mode.accepts
        if gemm.weight.form not in accepts.forms:
            continue
        if accepts.patterns is None or gemm.weight.nm in accepts.patterns:
            return mode
    raise CrispLoopError(
        f"{accelerator.name}: no mode takes layer {gemm.layer!r} with {gemm.weight.form} weights"
        f" ({gemm.weight.nm}); add one to the design's modes."
    )


def _metadata_bits(
    mode: Mode, gemm: Gemm, bounds: dict[str, int], pattern: NM | None, index_bits: int
) -> int:
    weights_format = next((form for form in mode.formats if form.tensor == "A"), None)
    if weights_format is None:
        return 0
    stored = bounds["R"] * bounds["M"] * bounds["Q"] * bounds["K"]
    if pattern is None:  # a bitmap over the whole matrix
        return stored
    offsets = stored * pattern.n // pattern.m * ceil(log2(pattern.m))
    return offsets + bounds["R"] * bounds["Q"] * index_bits


def _lane_correction(lanes: LaneQuantisation | None, densities: dict[str, float]) -> float:
    if lanes is None:
        return 1.0
    correction = 1.0
    for tensor, step in lanes.steps.items():
        correction *= quantisation(lanes.fragment, step, densities.get(tensor, 1.0))
    return correction


def quantisation(fragment: int, step: int, density: float) -> float:
    """Whole steps over ideal steps: E[ceil(Bin(T, d) / S)] * S / (T * d).

    Args:
        fragment: T, elements of a fragment.
        step: S, elements a step.
        density: d, share of non-zeros.
    """
    expected = sum(
        comb(fragment, ones) * density**ones * (1 - density) ** (fragment - ones)
        * ceil(ones / step)
        for ones in range(fragment + 1)
    )  # fmt: skip
    return expected * step / (fragment * density)
