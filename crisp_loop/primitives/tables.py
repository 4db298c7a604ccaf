"""The tables of ``arch/energy``: what Accelergy and CACTI said, row by row.

Three kinds of files, each with a header of ``#`` lines that says where its numbers are from:
``sram-<node>nm.csv`` (what CACTI says of a macro), ``dram.csv`` (pJ a bit) and ``logic.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from crisp_loop.core.errors import CrispLoopError

FOLDER = "energy"
"""Where the tables lie under ``arch``."""
SRAM_COLUMNS = ("depth", "width", "banks", "ports", "read_pJ", "write_pJ", "leakage_uW", "area_um2")
DRAM_COLUMNS = ("type", "pJ_per_bit")
LOGIC_COLUMNS = ("class", "node_nm", "width", "energy_pJ", "leakage_uW", "area_um2")


class Macro(NamedTuple):
    """An SRAM as CACTI takes it: whole bytes, at least 32 bits wide and 64 blocks a bank deep."""

    node: int
    """Technology in nm."""
    depth: int
    width: int
    banks: int
    ports: int


class Figures(NamedTuple):
    """What CACTI says of one macro."""

    read_pJ: float
    write_pJ: float
    leakage_uW: float
    area_um2: float


class LogicFigures(NamedTuple):
    """What Accelergy says of one register, multiplier or adder."""

    energy_pJ: float
    leakage_uW: float
    area_um2: float


def sram_file(node: int) -> str:
    """Name of the table of one technology node."""
    return f"sram-{node}nm.csv"


@cache
def sram_nodes() -> tuple[int, ...]:
    """Technology nodes in nm that have a table, in order."""
    names = [item.name for item in (files("crisp_loop.arch") / FOLDER).iterdir()]
    return tuple(
        sorted(
            int(name.removeprefix("sram-").removesuffix("nm.csv"))
            for name in names
            if name.startswith("sram-")
        )
    )


@cache
def sram_table(node: int) -> Mapping[Macro, Figures]:
    """Every macro of one node."""
    table = {}
    for row in _rows(sram_file(node), SRAM_COLUMNS):
        shape, figures = row[:4], row[4:]
        table[Macro(node, *map(int, shape))] = Figures(*map(float, figures))
    return table


@cache
def dram_table() -> Mapping[str, float]:
    """Type of DRAM to pJ a bit."""
    return {kind: float(energy) for kind, energy in _rows("dram.csv", DRAM_COLUMNS)}


@cache
def logic_table() -> Mapping[tuple[str, int, int], LogicFigures]:
    """(class, node in nm, width in bits) to its figures."""
    return {
        (kind, int(node), int(width)): LogicFigures(*map(float, figures))
        for kind, node, width, *figures in _rows("logic.csv", LOGIC_COLUMNS)
    }


def table_text(
    about: Iterable[str], columns: Iterable[str], rows: Iterable[Iterable[object]]
) -> str:
    """A table file: ``about`` as comments, a header, and the rows."""
    lines = [f"# {line}" for line in about]
    lines.append(",".join(columns))
    lines += [",".join(map(str, row)) for row in rows]
    return "\n".join(lines) + "\n"


def _rows(name: str, columns: tuple[str, ...]) -> Iterator[list[str]]:
    where = f"arch/{FOLDER}/{name}"
    source = files("crisp_loop.arch") / FOLDER / name
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise CrispLoopError(f"{where} cannot be read: {error.strerror or error}.") from None
    rows = csv.reader(line for line in text.splitlines() if not line.startswith("#"))
    if tuple(next(rows, ())) != columns:
        raise CrispLoopError(f"{where} has another header; expected {','.join(columns)}.")
    yield from rows
