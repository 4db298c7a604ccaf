"""Which colour, hatch and marker stands for what; the same thing looks the same in every figure.

Colours are Okabe and Ito's. No figure relies on them alone: hatches and markers repeat what they
say, and so do labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crisp_loop.core.figures import PALETTE

ORANGE, SKY, GREEN, PINK, VERMILION, BLUE, YELLOW, _BLACK = PALETTE

INK = "currentColor"
"""Black on white, and white on black."""
MARKERS = 5
"""Markers that the page's template draws, :data:`Key.mark` names them by number."""


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    name: str
    colour: str
    mark: int
    """Number of the hatch (of areas) or marker (of points)."""


def level_keys(memories: Sequence[str], arithmetic: str) -> dict[str, Key]:
    """Keys of the arithmetic and of the memories, outermost first.

    The outermost memory is the same colour on every design, however many it has below.
    """
    colours = (VERMILION, ORANGE, GREEN, SKY, PINK)
    keys = {arithmetic: Key(arithmetic, BLUE, 0)}
    for index, name in enumerate(memories):
        keys[name] = Key(name, colours[index % len(colours)], 1 + index % len(colours))
    return keys


def tensor_keys(tensors: Sequence[str], arithmetic: str) -> dict[str, Key]:
    """Keys of the tensors, and of the arithmetic as in :func:`level_keys`."""
    colours = (GREEN, ORANGE, PINK)
    keys = {
        name: Key(_TENSORS.get(name, name), colours[index % len(colours)], 1 + index % len(colours))
        for index, name in enumerate(tensors)
    }
    return keys | {arithmetic: Key(arithmetic, BLUE, 0), LEAKAGE: Key(LEAKAGE, YELLOW, 4)}


def design_keys(designs: Sequence[str], baseline: str) -> dict[str, Key]:
    """Keys of the designs: the baseline in ink, the others as in the speed-up figure."""
    others = [name for name in designs if name != baseline]
    keys = {
        name: Key(name, PALETTE[index % (len(PALETTE) - 1)], 1 + index % (MARKERS - 1))
        for index, name in enumerate(others)
    }
    return {name: keys.get(name) or Key(name, INK, 0) for name in designs}


LEAKAGE = "leakage"
_TENSORS = {"A": "weights (A)", "B": "inputs (B)", "Z": "outputs (Z)"}
