"""What an engine says of one spec. Both engines fill the same form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from crisp_loop.core.bounded import Amount, Count, Rows
from crisp_loop.core.names import Name


class _Form:
    """Read from files through pydantic; made by the engines without its checks, for their speed.

    Nor are they frozen: that makes a form four times as slow to fill, and a spec has some sixty.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")


@dataclass
class Accesses(_Form):
    """Scalar accesses of one kind (reads, fills or updates), per instance."""

    algorithmic: Count = 0
    actual: Count = 0
    gated: Count = 0
    skipped: Count = 0


@dataclass
class FormatAccesses(_Form):
    """Metadata accesses of one kind, per instance and rank, rank 0 innermost.

    Each entry is (metadata words, payload words), as timeloop-model prints them.
    """

    ranks: Rows[tuple[Count, Count]] = ()


@dataclass
class TensorStats(_Form):
    """One tensor (A, B or Z) at one storage level."""

    tile_shape: Count
    """Elements of the dense tile."""
    utilized_capacity: Count
    """Data words stored at most."""
    instances: Amount
    """Utilised instances, average."""
    reads: Accesses
    fills: Accesses
    updates: Accesses
    format_reads: FormatAccesses
    format_fills: FormatAccesses
    format_updates: FormatAccesses
    temporal_reductions: Count
    energy_pJ: Amount
    """Over all instances, leakage excluded."""


@dataclass
class LevelStats(_Form):
    """One storage level."""

    name: Name
    cycles: Count
    throttling: Amount
    """Share of full speed that this level's bandwidth allows; 1.0 when it does not bind."""
    tensors: dict[str, TensorStats]
    energy_pJ: Amount

    @property
    def words(self) -> float:
        """Data words that cross the level: read, filled and updated, over all its instances."""
        return sum(
            (each.reads.actual + each.fills.actual + each.updates.actual) * each.instances
            for each in self.tensors.values()
        )


@dataclass
class ComputeStats(_Form):
    """The arithmetic level."""

    name: Name
    instances: Count
    utilized_instances: Amount
    cycles: Count
    algorithmic: Count
    actual: Count
    gated: Count
    skipped: Count
    energy_pJ: Amount


@dataclass
class Evaluation(_Form):
    """Cycles and energy of one spec, with the figures behind them."""

    spec: str
    """The spec's file or directory."""
    engine: str
    engine_version: str
    cycles: Count
    """Of the whole problem: the slowest level's, as timeloop-model counts them."""
    energy_uJ: Amount
    utilization: Amount
    """Timeloop's figure: (actual + gated computes) / (cycles * instances), 0 to 1."""
    compute: ComputeStats
    levels: Rows[LevelStats]
    """Innermost first."""

    @property
    def bottleneck(self) -> str:
        """Name of the level that sets the cycles: the arithmetic unless a memory is slower."""
        slowest = max(self.levels, key=lambda level: level.cycles)
        return slowest.name if slowest.cycles > self.compute.cycles else self.compute.name

    def level(self, name: str) -> LevelStats:
        """The storage level called ``name``."""
        for level in self.levels:
            if level.name == name:
                return level
        raise KeyError(name)


@dataclass
class Evaluations(_Form):
    """What one engine said of a list of specs: the content of ``cost/evaluations.json``."""

    engine: str
    engine_version: str
    evaluations: Rows[Evaluation]
