"""The figure of the comparison: metadata over the hybrid format's, by sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from crisp_loop.core.figures import GRID, INK, MUTED, PALETTE, STYLE, save_figure
from crisp_loop.pack.compare import Comparison, Masks

_LINES: tuple[tuple[str, Masks, str, str], ...] = (
    ("ellpack", "unstructured", "ELLPACK, unstructured masks", "o"),
    ("ellpack", "same", "ELLPACK, the hybrid's masks", "."),
    ("csr", "same", "CSR, either", "s"),
    ("coo", "same", "COO, either", "^"),
    ("bitmask", "same", "bitmask, either", "d"),
)
_PAPER = (("CSR, paper", 5.0, 2), ("ELLPACK, paper", 7.0, 0))


def draw_comparison(comparison: Comparison, files: Sequence[Path]) -> None:
    """Draw the figure into each of ``files``, whose endings name the format (png or svg).

    Equal comparisons make equal bytes.
    """
    with mpl.rc_context(STYLE):
        save_figure(comparison_figure(comparison), files)


def comparison_figure(comparison: Comparison) -> Figure:
    """A panel a network: lines for the formats, and the paper's two ratios."""
    models = list(dict.fromkeys(total.model for total in comparison.totals))
    figure = Figure(figsize=(2.4 + 2.9 * len(models), 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        _panel(axes, comparison, model)
    panels[0].set_ylim(0, np.ceil(max(axes.dataLim.y1 for axes in panels)) + 0.5)
    panels[0].set_ylabel("metadata over the hybrid format's")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    first = comparison.rows[0]
    figure.suptitle(
        f"Metadata of sparse formats, {first.nm} in blocks of {first.block}",
        x=0.01,
        ha="left",
        fontsize=11,
        fontweight="bold",
    )
    return figure


def _panel(axes: Axes, comparison: Comparison, model: str) -> None:
    sparsities = sorted({t.sparsity for t in comparison.totals if t.model == model})
    percent = [100 * each for each in sparsities]
    for i, (name, masks, label, marker) in enumerate(_LINES):
        heights = [comparison.ratio(model, each, name, masks) for each in sparsities]
        colour = PALETTE[(0, 0, 2, 3, 5)[i]]
        style = "--" if (name, masks) == ("ellpack", "same") else "-"
        axes.plot(
            percent, heights, style, color=colour, marker=marker, markersize=4, label=label, lw=1.4
        )
    for label, height, colour in _PAPER:
        axes.axhline(height, color=PALETTE[colour], lw=0.9, linestyle=":", label=label)
    axes.axhline(1, color=INK, lw=1.0, linestyle=(0, (4, 2)), label="hybrid = 1")
    axes.set_title(model, loc="left", color=MUTED)
    axes.set_xlabel("sparsity, %")
    axes.set_axisbelow(True)
    axes.yaxis.grid(True, color=GRID, linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="both", length=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x" if value else "0")
