"""Which primitives the tables of ``arch/energy`` hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from crisp_loop.primitives.schema import DRAM, DramType, Logic, LogicClass
from crisp_loop.primitives.tables import Macro


@dataclass(frozen=True)
class Axes:
    """The macros of one technology node: all combinations of these."""

    octave: tuple[int, ...]
    """Depths between one power of two and the next, in units of it over ``octave[0]``."""
    widths: tuple[int, ...]
    banks: tuple[int, ...]
    ports: tuple[int, ...] = (1, 2)
    depth: int = 65536
    """Largest depth; the smallest is what CACTI takes, 64 a bank."""


# 45 nm is what the shipped designs are in, so its grid is the finest.
FINE = Axes((4, 5, 6, 7), (32, 48, 64, 96, 128, 192, 256, 384, 512), (1, 2, 4, 8, 16, 32))
COARSE = Axes((2, 3), (32, 48, 64, 128, 256, 512), (1, 2, 4))
SRAM_AXES = {22: COARSE, 32: COARSE, 45: FINE, 65: COARSE, 90: COARSE}
"""Technology nodes in nm that CACTI knows by itself."""

METADATA_DEPTHS = (2730, 5461, 10922, 21845)
"""Off the grid: metadata stores of 16, 32, 64 and 128 KB whose blocks are 48 b wide."""

LIBRARY_NODES = (22, 28, 32, 40, 45, 65, 90)
ALADDIN_NODES = (40, 45)
LOGIC_WIDTHS = range(1, 65)


def macros() -> list[Macro]:
    """Every macro that CACTI is asked for, node by node, each in the order of its table."""
    planned = []
    for node, axes in SRAM_AXES.items():
        points = set(_grid(node, axes))
        if axes is FINE:
            points |= {
                Macro(node, depth, 48, banks, 1) for depth in METADATA_DEPTHS for banks in (1, 2, 4)
            }
        planned += sorted(points, key=lambda each: (each.ports, each.banks, each.width, each.depth))
    return planned


def _grid(node: int, axes: Axes) -> Iterator[Macro]:
    for banks in axes.banks:
        power = 64 * banks
        depths = []
        while power <= axes.depth:
            depths += [power * part // axes.octave[0] for part in axes.octave]
            power *= 2
        for depth in depths:
            if depth <= axes.depth:
                for width in axes.widths:
                    for ports in axes.ports:
                        yield Macro(node, depth, width, banks, ports)


def drams() -> list[DRAM]:
    """One of each type."""
    return [DRAM(type=kind, width=64) for kind in get_args(DramType)]


def logic() -> list[tuple[int, Logic]]:
    """(node in nm, component) of each class and width."""
    planned = []
    for kind in get_args(LogicClass):
        nodes = LIBRARY_NODES if kind.startswith("aladdin") else ALADDIN_NODES
        planned += [
            (node, Logic(class_=kind, width=width)) for node in nodes for width in LOGIC_WIDTHS
        ]
    return planned
