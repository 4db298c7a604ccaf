"""The figure: speed-up and energy gain of every layer over the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from crisp_loop.core.figures import GRID, INK, MUTED, PALETTE, STYLE, save_figure
from crisp_loop.report.totals import geomean

Floats = npt.NDArray[np.float64]

_MEASURES = (("speedup", "Speed-up"), ("energy_gain", "Energy gain"))


def draw_speedup(results: pd.DataFrame, baseline: str, files: Sequence[Path]) -> None:
    """Draw the figure into each of ``files``, whose endings name the format (png or svg).

    Equal results make equal bytes.
    """
    with mpl.rc_context(STYLE):
        figure = speedup_figure(results, baseline)
        save_figure(figure, files)


def speedup_figure(results: pd.DataFrame, baseline: str) -> Figure:
    """Per layer, speed-up (top) and energy gain (bottom): bars for each other accelerator."""
    if results["model"].nunique() > 1:
        results = results.assign(layer=results["model"] + " " + results["layer"])
    layers = list(dict.fromkeys(results["layer"]))
    designs = [name for name in dict.fromkeys(results["accelerator"]) if name != baseline]
    designs = designs or [baseline]
    places = _places(len(layers))
    width = float(np.clip(1.2 + places[-1] * (0.13 * len(designs) + 0.1), 8, 16))
    figure = Figure(figsize=(width, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True)
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.08, hspace=0.04)  # type: ignore[union-attr]
    for axes, (column, label) in zip((top, bottom), _MEASURES, strict=True):
        _bars(axes, results, column, layers, designs)
        _dress(axes, f"{label} over {baseline}", len(layers), baseline)
    _name_layers(bottom, layers)
    top.set_title(_title(results), loc="left", fontsize=12, fontweight="bold", pad=25)
    top.annotate(_subtitle(results), (0, 1), (0, 11), "axes fraction", "offset points", color=MUTED)
    handles, labels = top.get_legend_handles_labels()
    top.legend(
        [*handles[1:], handles[0]],
        [*labels[1:], labels[0]],
        loc="lower right",
        bbox_to_anchor=(1, 1.02),
        ncols=len(designs) + 1,
        frameon=False,
        handlelength=1.1,
        handleheight=1.0,
        columnspacing=1.4,
        borderaxespad=0,
    )
    return figure


def _places(layers: int) -> Floats:
    """Middle of each layer's group of bars, then of the means', which is wider if crowded."""
    return np.append(np.arange(layers, dtype=np.float64), layers + 0.1 + _spread(layers) / 2)


def _spread(layers: int) -> float:
    """Width of the group of means, in groups: enough for its labels."""
    return max(1.0 if layers <= 6 else 1.5, layers / 14)


def _bars(
    axes: Axes, results: pd.DataFrame, column: str, layers: list[str], designs: list[str]
) -> None:
    """Grouped bars a layer, and the geometric means behind a gap."""
    places = _places(len(layers))
    width = np.append(np.ones(len(layers)), _spread(len(layers))) * 0.8 / len(designs)
    ceiling = 1.0
    for i, design in enumerate(designs):
        part = results[results["accelerator"] == design].set_index("layer")[column]
        heights = np.append(part.reindex(layers).to_numpy(dtype=np.float64), geomean(part))
        ceiling = max(ceiling, float(np.nanmax(heights)))
        middles = places + (i + 0.5 - len(designs) / 2) * width
        axes.bar(middles, heights, width * 0.94, color=PALETTE[i % len(PALETTE)], label=design)
        axes.annotate(
            f"{heights[-1]:.1f}",
            (middles[-1], heights[-1]),
            (0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7.5,
        )
    axes.set_ylim(0, ceiling * 1.08)


def _dress(axes: Axes, label: str, layers: int, baseline: str) -> None:
    """Labels, grid, the line at 1, and the gap before the means."""
    axes.set_ylabel(label)
    axes.set_xlim(-0.7, layers + 0.2 + _spread(layers))
    axes.set_axisbelow(True)
    axes.yaxis.grid(True, color=GRID, linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="both", length=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x" if value else "0")
    axes.axhline(1, color=INK, linewidth=1.0, linestyle=(0, (4, 2)), label=f"{baseline} = 1")
    axes.axvline(layers - 0.2, color=GRID, linewidth=0.8, zorder=0)


def _name_layers(axes: Axes, layers: list[str]) -> None:
    """Layer names, as level as there is room for."""
    axes.set_xticks(_places(len(layers)), [*layers, "geomean"])
    for text in axes.get_xticklabels():
        if len(layers) > 20:
            text.set(rotation=90, fontsize=7, ha="center")
        elif sum(map(len, layers)) > 60:
            text.set(rotation=45, fontsize=8.5, ha="right", rotation_mode="anchor")
    axes.get_xticklabels()[-1].set_fontweight("bold")


def _title(results: pd.DataFrame) -> str:
    return ", ".join(dict.fromkeys(results["model"]))


def _subtitle(results: pd.DataFrame) -> str:
    sparse = results[results["n"] < results["m"]]
    patterns = {f"{n}:{m}" for n, m in zip(sparse["n"], sparse["m"], strict=True)}
    blocks = sorted({int(block) for block in results["block"].dropna()})
    engines = dict.fromkeys(results["engine"] + " " + results["engine_version"])
    parts = [f"pattern {', '.join(sorted(patterns)) or 'dense'}"]
    if blocks:
        parts.append(f"blocks of {', '.join(map(str, blocks))}")
    parts.append(f"engine {', '.join(engines)}")
    return "  ·  ".join(parts)
