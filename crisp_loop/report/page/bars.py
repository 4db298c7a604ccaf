"""Cycles of every layer as bars, a panel a design, each bar in the colour of its bottleneck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from crisp_loop.report.page.colours import Key
from crisp_loop.report.page.scale import round_ticks

_HEIGHT, _GAP, _TOP = 104.0, 34.0, 22.0
_LEFT, _RIGHT = 62.0, 8.0
_SLOT_LEAST, _WIDTH_LEAST = 17.0, 1000.0
_LETTER = 6.6
"""Width of a letter of a layer's name, about."""
_LONGEST = 30
"""Letters of a layer's name; of longer ones the end is shown, which differs more often."""


@dataclass(frozen=True)
class Bar:
    """One layer on one design."""

    x: float
    y: float
    width: float
    height: float
    key: Key
    title: str


@dataclass(frozen=True)
class Panel:
    """One design."""

    design: str
    about: str
    top: float
    bottom: float
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    """Place and text."""


@dataclass(frozen=True)
class BarsFigure:
    """All designs on one scale, in the units of the figure's view box."""

    width: float
    height: float
    left: float
    right: float
    panels: tuple[Panel, ...]
    names: tuple[tuple[float, str], ...]
    """Place along x and text of each layer's name."""
    names_top: float
    keys: tuple[Key, ...]
    """Bottlenecks that occur."""


def bars_figure(results: pd.DataFrame, keys: Mapping[str, Key]) -> BarsFigure:
    """Bars for the rows of one model.

    Args:
        results: Rows of a results table, of one model.
        keys: Of everything that may be a bottleneck.
    """
    layers = list(dict.fromkeys(results["layer"]))
    width = max(_WIDTH_LEAST, _LEFT + _RIGHT + _SLOT_LEAST * len(layers))
    slot = (width - _LEFT - _RIGHT) / len(layers)
    places = {layer: _LEFT + slot * index for index, layer in enumerate(layers)}
    ticks = round_ticks(float(results["cycles"].max()), most=3)
    panels = []
    for index, (design, rows) in enumerate(results.groupby("accelerator", sort=False)):
        top = _TOP + index * (_HEIGHT + _GAP)
        bottom = top + _HEIGHT
        per_cycle = _HEIGHT / ticks[-1]
        bars = tuple(
            Bar(
                x=places[str(row["layer"])] + slot * 0.14,
                y=bottom - row["cycles"] * per_cycle,
                width=slot * 0.72,
                height=row["cycles"] * per_cycle,
                key=keys[str(row["bottleneck"])],
                title=f"{row['layer']} on {design}: {row['cycles']:,} cycles,"
                f" {row['bottleneck']} sets the pace",
            )
            for row in rows.to_dict("records")
        )
        places_of_ticks = tuple((bottom - each * per_cycle, _tick(each)) for each in ticks)
        about = f"{rows['cycles'].sum():,} cycles in all"
        panels.append(Panel(str(design), about, top, bottom, bars, places_of_ticks))
    names_top = panels[-1].bottom + 8
    return BarsFigure(
        width=width,
        height=names_top + _LETTER * max(len(_short(layer)) for layer in layers) * 0.87 + 8,
        left=_LEFT,
        right=width - _RIGHT,
        panels=tuple(panels),
        names=tuple((place + slot / 2, _short(layer)) for layer, place in places.items()),
        names_top=names_top,
        keys=tuple(keys[name] for name in keys if name in set(results["bottleneck"])),
    )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _tick(cycles: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if cycles >= size:
            return f"{cycles / size:g}{letter}"
    return f"{cycles:g}"
