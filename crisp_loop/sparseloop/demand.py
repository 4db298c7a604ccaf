"""What specs ask of a design whatever its bandwidths, and their cycles under many bandwidths.

Bandwidths enter the model in its last step alone: traffic, energy and capacity are those of one
analysis, and only the pace changes. A sweep over bandwidths thus costs a few array operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crisp_loop.core.errors import CrispLoopError, UnsupportedError
from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop.columns import (
    FlagArray,
    FloatArray,
    Floats,
    IntArray,
    ceil,
    filled,
    whole,
)
from crisp_loop.sparseloop.microarchitecture import throttled
from crisp_loop.sparseloop.model import Together, analyse_together, evaluate


@dataclass(frozen=True, eq=False)
class Demands:
    """What each of some specs asks of the design that they share; (specs,) or (levels, specs)."""

    levels: tuple[str, ...]
    """Names of the storage levels, innermost first."""
    compute: str
    """Name of the arithmetic level."""
    compute_cycles: IntArray
    """Cycles that the arithmetic needs by itself."""
    ideal_cycles: FloatArray
    """Cycles that it would need with all units busy."""
    reads: FloatArray
    """(levels, specs) words that an average instance reads while the arithmetic takes a cycle."""
    writes: FloatArray
    words: FloatArray
    """(levels, specs) data words that cross a level over all its instances."""
    energy_pJ: FloatArray
    refusals: tuple[str, ...]
    """Why a spec has no figures, in one sentence; empty where it has them."""

    @property
    def sound(self) -> FlagArray:
        """(specs,) whether each has figures; those of the others are zeros."""
        return np.array([not refusal for refusal in self.refusals], dtype=np.bool_)

    def paced(self, bandwidths: FloatArray) -> Pace:
        """The cycles under many choices of bandwidths.

        Args:
            bandwidths: (choices, levels, 2) words a cycle that an instance reads and writes;
                infinite without bound.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            levels = []
            for index in range(len(self.levels)):
                read, write = bandwidths[:, index, 0, None], bandwidths[:, index, 1, None]
                throttling, _ = throttled(
                    (read, write, None), self.reads[index], self.writes[index]
                )
                levels.append(ceil(self.compute_cycles / throttling))
        by_level = np.stack(levels)
        slowest = by_level.argmax(axis=0)
        cycles = np.maximum(by_level.max(axis=0), self.compute_cycles)
        return Pace(cycles, np.where(cycles > self.compute_cycles, slowest, len(self.levels)))


@dataclass(frozen=True, eq=False)
class Pace:
    """How fast specs run; (choices, specs) each."""

    cycles: IntArray
    bottleneck: IntArray
    """Number of the level that sets the cycles; the number of levels for the arithmetic."""


def demands_of(specs: Sequence[Spec]) -> Demands:
    """What specs of one design ask of it; those that are alike are analysed together.

    Args:
        specs: At least one, with the same levels in each.

    Raises:
        UnsupportedError: a level leaks, so that its energy depends on its pace.
    """
    parts = list(analyse_together(specs))
    refusals = [""] * len(specs)
    for number in set(range(len(specs))).difference(*map(_sound, parts)):
        # One spec that the model cannot take at all refuses those that were analysed with it.
        alone = [replace(part, numbers=(number,)) for part in analyse_together([specs[number]])]
        if any(map(_sound, alone)):
            parts += alone
        else:
            refusals[number] = _refusal(specs[number])
    if not parts:
        nothing = np.zeros((0, len(specs)))
        none = np.zeros(len(specs))
        return Demands((), "", whole(none), none, nothing, nothing, nothing, none, tuple(refusals))
    hardware = parts[0].designs[0].architecture
    for level in hardware.levels:
        if level.energy["leak"]:
            raise UnsupportedError(f"{level.name} leaks; its energy depends on its bandwidths.")
    table = np.zeros((len(hardware.levels), 3, len(specs)))
    single = np.zeros((3, len(specs)))
    for part in parts:
        at = np.array(part.numbers)[part.legal]
        single[:, at] = _of_legal(
            part,
            part.cost.compute_cycles,
            part.sparse.computes.actual / hardware.compute.mesh.instances,
            part.cost.energy,
        )
        for index, level in enumerate(part.cost.levels):
            table[index][:, at] = _of_legal(part, level.reads, level.writes, _words(part, index))
    return Demands(
        levels=tuple(level.name for level in hardware.levels),
        compute=hardware.compute.name,
        compute_cycles=whole(single[0]),
        ideal_cycles=single[1],
        reads=table[:, 0],
        writes=table[:, 1],
        words=table[:, 2],
        energy_pJ=single[2],
        refusals=tuple(refusals),
    )


def _sound(part: Together) -> set[int]:
    """The specs of a batch that can be run."""
    return set(np.array(part.numbers)[part.legal].tolist())


def _of_legal(part: Together, *columns: Floats) -> FloatArray:
    """(columns, specs) with all legal specs of a batch, also where these agree."""
    size = len(part.numbers)
    return np.stack([filled(column, size) for column in columns])[:, part.legal]


def _words(part: Together, level: int) -> Floats:
    """Data words that cross a level over all its instances; of the whole batch."""
    moved: Floats = 0.0
    for tensor in part.cost.levels[level].tensors:
        traffic = part.sparse.traffic[level, tensor]
        words = traffic.reads + traffic.fills + traffic.updates
        moved = moved + words * part.sparse.instances[level, tensor]
    return moved


def _refusal(spec: Spec) -> str:
    """Why a spec has no figures."""
    try:
        evaluate(spec)
    except CrispLoopError as error:
        return str(error)
    raise AssertionError(f"{spec.source} is sound, but was left out of its batch")
