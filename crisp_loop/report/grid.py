"""A table as people read it: heads, and cells that know the exact value behind what they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crisp_loop.report.numbers import count, energy, short, times


@dataclass(frozen=True)
class Head:
    """One column."""

    column: str
    """Its name in the CSV file."""
    title: str
    show: Callable[[Any], str] = str
    number: bool = True
    about: str = ""
    """What it means, with its unit."""


@dataclass(frozen=True)
class Cell:
    """One value."""

    exact: str
    """In full, as a CSV file holds it; empty where there is none."""
    shown: str


@dataclass(frozen=True)
class Grid:
    """Heads over rows of as many cells."""

    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]


def grid_of(frame: pd.DataFrame, heads: Sequence[Head]) -> Grid:
    """The columns of ``frame`` that ``heads`` name, row by row."""
    columns = [[_cell(value, head.show) for value in frame[head.column].tolist()] for head in heads]
    return Grid(tuple(heads), tuple(zip(*columns, strict=True)))


def totals_grid(totals: pd.DataFrame) -> Grid:
    """Designs as rows: cycles, energy, speed-up and energy gain over a whole network."""
    several = totals["model"].nunique() > 1
    return grid_of(totals, (MODEL, *TOTAL_HEADS) if several else TOTAL_HEADS)


def _cell(value: object, show: Callable[[Any], str]) -> Cell:
    if value is None or value is pd.NA or value != value:
        return Cell("", "")
    return Cell(repr(value) if isinstance(value, float) else str(value), show(value))


MODEL = Head("model", "model", number=False)
DESIGN = Head("accelerator", "design", number=False)
CYCLES = Head("cycles", "cycles", count)
ENERGY = Head("energy_uJ", "energy (µJ)", energy)
SPEEDUP = Head("speedup", "speed-up", times, about="cycles of the baseline / cycles")
ENERGY_GAIN = Head("energy_gain", "energy gain", times, about="energy of the baseline / energy")
EDP = Head("edp", "EDP", short, about="energy-delay product, joule-cycles")
DRAM_WORDS = Head("dram_words", "DRAM words", count, about="data words that cross DRAM")
SMEM_WORDS = Head("smem_words", "SMEM words", count, about="data words that cross SMEM")
METADATA = Head("metadata_bits", "metadata bits", count, about="of the weights, as stored")

TOTAL_HEADS = (DESIGN, CYCLES, ENERGY, SPEEDUP, ENERGY_GAIN)
"""What compares designs in a paper's table."""
