"""The picture of a trade-off: accuracy over gain, with each design's front as steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crisp_loop.core.figures import GRID, INK, MUTED, PALETTE

GAIN = {"edp": "edp_gain", "cycles": "speedup", "energy": "energy_gain"}
LABEL = {"edp": "EDP gain over dense", "cycles": "speed-up over dense", "energy": "energy gain"}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def draw_pareto(choices: pd.DataFrame, dense_accuracy: float, cost: str) -> Figure:
    """Filled markers are on their design's front; a pattern is a shape, a design a colour.

    Args:
        choices: As :attr:`crisp_loop.pareto.run.Pareto.choices`.
        dense_accuracy: Drawn as a line, 0 to 1.
        cost: ``edp``, ``cycles`` or ``energy``.
    """
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    designs = list(dict.fromkeys(choices["accelerator"]))
    patterns = sorted(dict.fromkeys(choices["nm"]))
    for number, design in enumerate(designs):
        mine = choices.loc[choices["accelerator"] == design]
        colour = PALETTE[number % len(PALETTE)]
        front = mine.loc[mine["front"]].sort_values(GAIN[cost])
        gains, accuracies = front[GAIN[cost]].to_numpy(), 100 * front["accuracy"].to_numpy()
        axes.step(gains, accuracies, where="pre", color=colour, linewidth=1.4, zorder=1)
        for row in mine.itertuples():
            axes.plot(
                getattr(row, GAIN[cost]),
                100 * row.accuracy,  # type: ignore[operator]
                MARKERS[patterns.index(row.nm) % len(MARKERS)],
                color=colour,
                markerfacecolor=colour if row.front else "none",
                markersize=4 + np.log2(row.block) / 2,  # type: ignore[call-overload]
                zorder=2,
            )
    axes.axhline(100 * dense_accuracy, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set_xlabel(LABEL[cost])
    axes.set_ylabel("test accuracy, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    handles = [
        *(Line2D([], [], color=PALETTE[i % len(PALETTE)], label=d) for i, d in enumerate(designs)),
        *(
            Line2D([], [], color=MUTED, marker=MARKERS[i % len(MARKERS)], linestyle="", label=nm)
            for i, nm in enumerate(patterns)
        ),
        Line2D([], [], color=INK, linestyle=(0, (4, 2)), label="dense, fine-tuned"),
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)
    axes.set_title(
        "Filled: on the design's front. Larger markers: larger blocks.",
        loc="left", fontsize=9, color=MUTED,
    )  # fmt: skip
    return figure
