"""Reading ``timeloop-model.stats.txt``, with every figure of every level.

pytimeloop's own parser mixes the algorithmic and the actual section of sparse runs, hence
this one. The file has two layouts: Timeloop prints a *sparse* one (algorithmic, actual, gated
and skipped figures, metadata by rank) when the spec has ``sparse_optimizations``, and a
shorter *dense* one otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import (
    Accesses,
    ComputeStats,
    Evaluation,
    FormatAccesses,
    LevelStats,
    TensorStats,
)

FILE_NAME = "timeloop-model.stats.txt"

_LEVELS = "Buffer and Arithmetic Levels"
_NETWORKS = "Networks"
_SUMMARY = "Summary Stats"

_RANK = re.compile(r"\s*Rank (\d{1,9}) \(metadata, payload\): \((\d{1,18}),\s*(\d{1,18})\)\s*$")
_STATISTICS = "    STATS"
_LARGEST = 1e100
"""No figure is larger; what is, would overflow a sum."""
_LEAKAGE = "Leakage energy (total)"
_TENSOR = re.compile(r" {4}(\S.*):$")
_LEVEL_NAME = re.compile(r"=== (.+) ===$")


class StatsError(CrispLoopError):
    """A statistics file that is not whole, or not of this kind."""


def parse_stats(
    text: str,
    spec: str,
    engine: str = "timeloop",
    engine_version: str = "",
    where: Path | str = FILE_NAME,
) -> Evaluation:
    """The evaluation that a statistics file's ``text`` tells.

    Args:
        text: The file's content, with any line ends.
        spec: Name of the spec, passed through.
        engine: Name of the engine, passed through.
        engine_version: Passed through.
        where: The file's name, for messages.

    Raises:
        StatsError: the text ends early, or lacks a figure; the message says which.
    """
    if not text.endswith("\n"):
        raise StatsError(f"{where} is not a whole {FILE_NAME}: it ends in mid-line.")
    lines = text.splitlines()
    body = _between(lines, _LEVELS, _NETWORKS, where)
    summary = _Block(where, "summary")
    summary.read(_between(lines, _SUMMARY, None, where))

    compute: ComputeStats | None = None
    levels: list[LevelStats] = []
    for name, chunk in _chunks(body):
        if any(line.startswith("    Compute energy") for line in chunk):
            compute = _compute(name, chunk, where)
        else:
            levels.append(_level(name, chunk, where))
    if compute is None or not levels:
        missing = "storage" if compute else "arithmetic"
        raise StatsError(f"{where} is not a whole {FILE_NAME}: it has no {missing} level.")

    cycles = summary.count("Cycles")
    if not cycles or not compute.instances:
        raise StatsError(f"{where} is not a whole {FILE_NAME}: nothing was computed.")
    total_pJ = compute.energy_pJ + sum(level.energy_pJ for level in levels)
    return Evaluation(
        spec=spec,
        engine=engine,
        engine_version=engine_version,
        cycles=cycles,
        energy_uJ=_energy_pJ(total_pJ, summary) / 1e6,
        # Timeloop prints it with two decimals only; this is its formula.
        utilization=(compute.actual + compute.gated) / (compute.instances * cycles),
        compute=compute,
        levels=tuple(levels),
    )


def _energy_pJ(levels_pJ: float, summary: _Block) -> float:
    """Energy of the run in pJ, from the most precise figures that cover all of it.

    The levels' own figures (pJ, two decimals) fix the sum to about 1e-9; the summary's
    ``Total`` (fJ per algorithmic compute, two decimals) to about 3e-6, and ``Energy:``
    (uJ, two decimals) to 1e-4. Only the summary counts networks with energies (wires),
    which have no place among the levels: where the two disagree beyond rounding, it is right.
    """
    dense = "Algorithmic Computes" not in summary.fields
    computes = summary.count("Computes" if dense else "Algorithmic Computes")
    total_fJ = summary.number("Total")
    rounding_pJ = 0.0051 * computes / 1000
    summary_pJ = total_fJ * computes / 1000
    return levels_pJ if abs(levels_pJ - summary_pJ) <= rounding_pJ else summary_pJ


def _compute(name: str, chunk: list[str], where: Path | str) -> ComputeStats:
    block = _Block(where, f"level {name}")
    block.read(chunk)
    dense = "Computes (total)" in block.fields
    actual = block.count("Computes (total)" if dense else "Actual Computes (total)")
    return ComputeStats(
        name=name,
        instances=block.count("Instances"),
        utilized_instances=block.number(
            "Utilized instances" if dense else "Utilized instances (average)"
        ),
        cycles=block.count("Cycles"),
        algorithmic=actual if dense else block.count("Algorithmic Computes (total)"),
        actual=actual,
        gated=0 if dense else block.count("Gated Computes (total)"),
        skipped=0 if dense else block.count("Skipped Computes (total)"),
        energy_pJ=block.number("Energy (total)"),
    )


def _level(name: str, chunk: list[str], where: Path | str) -> LevelStats:
    # Older versions print the level's loops before its statistics, under a heading like a tensor's.
    first = len(chunk) - len(_between(chunk, _STATISTICS, None, where))
    heads = [
        (i, match[1])
        for i, line in enumerate(chunk)
        if i >= first and (match := _TENSOR.match(line))
    ]
    if not heads:
        raise StatsError(f"{where} is not a whole {FILE_NAME}: level {name} has no tensor.")
    block = _Block(where, f"level {name}")
    block.read(chunk[: heads[0][0]])
    ends = [i for i, _ in heads[1:]] + [len(chunk)]
    tensors: dict[str, TensorStats] = {}
    for (start, tensor), end in zip(heads, ends, strict=True):
        inner = _Block(where, f"level {name}, tensor {tensor}")
        inner.read(chunk[start + 1 : end])
        tensors[tensor] = _tensor(inner)
    # Versions before 2024 know no leakage.
    leaks = _LEAKAGE in block.fields
    leakage_pJ = block.number(_LEAKAGE) if leaks else 0.0
    return LevelStats(
        name=name,
        cycles=block.count("Cycles"),
        throttling=block.number("Bandwidth throttling"),
        tensors=tensors,
        energy_pJ=leakage_pJ + sum(tensor.energy_pJ for tensor in tensors.values()),
    )


def _tensor(block: _Block) -> TensorStats:
    energy_pJ = (
        block.number("Energy (total)")
        + block.number("Temporal Reduction Energy (total)")
        + block.number("Address Generation Energy (total)")
    )
    reductions = block.count("Temporal reductions (per-instance)")
    none = FormatAccesses()
    if "Data tile shape" not in block.fields:
        # Dense layout: what is stored is the tile, and all accesses happen. It has no average
        # of the instances; the figure is the maximum.
        tile = block.count("Utilized capacity")
        return TensorStats(
            tile_shape=tile,
            utilized_capacity=tile,
            instances=block.number("Utilized instances (max)"),
            reads=_dense_accesses(block, "reads"),
            fills=_dense_accesses(block, "fills"),
            updates=_dense_accesses(block, "updates"),
            format_reads=none,
            format_fills=none,
            format_updates=none,
            temporal_reductions=reductions,
            energy_pJ=energy_pJ,
        )
    compressed = block.text("Representation format") != "none"
    return TensorStats(
        tile_shape=block.count("Data tile shape"),
        utilized_capacity=block.count("Max utilized data storage capacity"),
        instances=block.number("Utilized instances (average)"),
        reads=_sparse_accesses(block, "reads"),
        fills=_sparse_accesses(block, "fills"),
        updates=_sparse_accesses(block, "updates"),
        format_reads=_format_accesses(block, "reads") if compressed else none,
        format_fills=_format_accesses(block, "fills") if compressed else none,
        format_updates=_format_accesses(block, "updates") if compressed else none,
        temporal_reductions=reductions,
        energy_pJ=energy_pJ,
    )


def _dense_accesses(block: _Block, kind: str) -> Accesses:
    count = block.count(f"Scalar {kind} (per-instance)")
    return Accesses(algorithmic=count, actual=count)


def _sparse_accesses(block: _Block, kind: str) -> Accesses:
    return Accesses(
        algorithmic=block.count(f"Algorithmic scalar {kind} (per-instance)"),
        actual=block.count(f"Actual scalar {kind} (per-instance)"),
        gated=block.count(f"Gated scalar {kind} (per-instance)"),
        skipped=block.count(f"Skipped scalar {kind} (per-instance)"),
    )


def _format_accesses(block: _Block, kind: str) -> FormatAccesses:
    """Actual metadata accesses; no ranks where Timeloop prints a plain 0 (no bits moved)."""
    label = f"Actual scalar format {kind} (per-instance)"
    if label not in block.ranks:
        block.count(label)
        return FormatAccesses()
    ranks = block.ranks[label]
    return FormatAccesses(ranks=tuple(ranks[rank] for rank in sorted(ranks)))


@dataclass
class _Block:
    """The ``label : value`` lines of one part of the file."""

    where: Path | str
    what: str
    fields: dict[str, str] = field(default_factory=dict)
    ranks: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    """Label to rank to (metadata, payload), for figures given by rank."""

    def read(self, lines: list[str]) -> None:
        """Take ``lines`` in; of a repeated label the first stays.

        In the summary this means ``Total`` per algorithmic compute, which comes before
        ``Total`` per actual compute.
        """
        label = ""
        for line in lines:
            if match := _RANK.match(line):
                self.ranks.setdefault(label, {})[int(match[1])] = (int(match[2]), int(match[3]))
                continue
            label, separator, value = line.partition(":")
            if not separator:
                label, separator, value = line.partition("=")
            label = label.strip()
            if separator:
                self.fields.setdefault(label, value.strip())

    def text(self, label: str) -> str:
        """The value of ``label``."""
        if label not in self.fields:
            raise StatsError(
                f"{self.where} is not a whole {FILE_NAME}: {self.what} lacks {label!r}."
            )
        return self.fields[label]

    def number(self, label: str) -> float:
        """The value of ``label`` without its unit, finite."""
        text = self.text(label)
        try:
            value = float(text.split()[0])
        except (IndexError, ValueError):
            value = math.nan
        if not abs(value) <= _LARGEST:
            raise StatsError(f"{self.where}: {self.what}: {label!r} is {text!r}, not a number.")
        return value

    def count(self, label: str) -> int:
        """The value of ``label`` as a whole number."""
        text = self.text(label)
        words = text.split()
        if not words or not words[0].isdecimal() or len(words[0]) > 18:
            raise StatsError(f"{self.where}: {self.what}: {label!r} is {text!r}, not a count.")
        return int(words[0])


def _between(lines: list[str], start: str, end: str | None, where: Path | str) -> list[str]:
    """The lines after the heading ``start`` up to the heading ``end``."""
    try:
        first = lines.index(start) + 1
        last = len(lines) if end is None else lines.index(end, first)
    except ValueError:
        missing = end if end is not None and start in lines else start
        raise StatsError(
            f"{where} is not a whole {FILE_NAME}: it has no section {missing!r}."
        ) from None
    return lines[first:last]


def _chunks(body: list[str]) -> Iterator[tuple[str, list[str]]]:
    """(level name, its lines), innermost first as in the file."""
    heads = [(i, match[1]) for i, line in enumerate(body) if (match := _LEVEL_NAME.match(line))]
    ends = [i for i, _ in heads[1:]] + [len(body)]
    for (start, name), end in zip(heads, ends, strict=True):
        yield name, body[start + 1 : end]
