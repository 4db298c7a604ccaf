"""Pictures of the hardware study: layers under one setting, and ranges over settings."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from crisp_loop.core.figures import GRID, INK, MUTED, PALETTE
from crisp_loop.reproduce.hardware.claims import CRISP, DSTC, NVIDIA, of
from crisp_loop.reproduce.hardware.shapes import early, late

MEASURES = (("speedup", "speed-up over dense"), ("energy_gain", "energy gain over dense"))


def draw_layers(rows: pd.DataFrame) -> Figure:
    """Bars a shape: speed-up and energy gain, one row of pictures a pattern and measure."""
    patterns = list(dict.fromkeys(rows["nm"]))
    figure = Figure(figsize=(13, 2.1 * 2 * len(patterns)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * len(patterns), 1, sharex=True, squeeze=False)[:, 0]
    layers = list(dict.fromkeys(rows["layer"]))
    for index, (column, label) in enumerate(MEASURES):
        for number, nm in enumerate(patterns):
            place = axes[index * len(patterns) + number]
            _bars(place, rows.loc[rows["nm"] == nm], column, layers)
            place.set_ylabel(f"{label}\n{nm}", fontsize=8)
    axes[-1].set_xticks(range(len(layers)), layers, rotation=45, ha="right", fontsize=8)
    axes[0].legend(ncols=6, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    axes[0].set_title(
        "ResNet-50, each shape once, sparsity .90", loc="left", fontsize=11, fontweight="bold"
    )
    return figure


def _bars(axes: Axes, rows: pd.DataFrame, column: str, layers: list[str]) -> None:
    series = [
        ("NVIDIA-STC", of(rows, NVIDIA)),
        ("DSTC", of(rows, DSTC)),
        *((f"CRISP-STC, B = {b}", of(rows, CRISP, block=b)) for b in sorted(set(rows["B"]))),
    ]
    width = 0.84 / len(series)
    for i, (label, part) in enumerate(series):
        heights = part.set_index("layer")[column].reindex(layers).to_numpy(dtype=np.float64)
        middles = np.arange(len(layers)) + (i + 0.5 - len(series) / 2) * width
        axes.bar(middles, heights, width * 0.95, color=PALETTE[i], label=label)
    axes.axhline(1, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set_xlim(-0.6, len(layers) - 0.4)
    _dress(axes)
    axes.yaxis.grid(True, color=GRID, linewidth=0.7)


def draw_settings(rows: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """A line a setting: the least, mean and most over the shapes, for each design at 2:4.

    Args:
        rows: Shapes under every setting, blocks of 64.
        titles: Setting to what stands beside its lines, in the order of the picture.
    """
    at = rows.loc[(rows["nm"] == "2:4") & (rows["B"] == 64)]
    series = [
        ("CRISP-STC", of(at, CRISP)),
        ("NVIDIA-STC", of(at, NVIDIA)),
        ("DSTC, stages 1 and 2", early(of(at, DSTC))),
        ("DSTC, stage 4", late(of(at, DSTC))),
    ]
    figure = Figure(figsize=(12, 0.30 * len(titles) + 1.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    for place, (column, label) in zip(axes, MEASURES, strict=True):
        for i, (name, part) in enumerate(series):
            found = part.groupby("setting")[column]
            low, mean, high = (
                getattr(found, how)().reindex(list(titles)) for how in ("min", "median", "max")
            )
            y = np.arange(len(titles)) + (i - 1.5) * 0.19
            place.hlines(y, low, high, color=PALETTE[i], linewidth=2.2, alpha=0.55)
            place.plot(mean, y, "o", color=PALETTE[i], markersize=4, label=name)
        place.axvline(1, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        place.set_xscale("log", base=2)
        place.set_xlabel(label)
        place.set_ylim(-0.7, len(titles) - 0.3)
        _dress(place)
        place.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
        place.xaxis.grid(True, color=GRID, linewidth=0.7)
    axes[0].set_yticks(range(len(titles)), list(titles.values()), fontsize=8)
    axes[0].invert_yaxis()
    figure.suptitle("2:4, B = 64: least, median and most of the shapes", x=0.01, ha="left")
    axes[0].legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return figure


def _dress(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="both", length=0, labelcolor=INK, color=MUTED)
