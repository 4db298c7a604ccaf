"""How the panels of all reproduced figures look."""

from __future__ import annotations

from matplotlib.axes import Axes

from crisp_loop.core.figures import GRID, MUTED

MARKERS = "osD^vPX*"
"""Beside colours, for who cannot tell those apart."""


def panel(axes: Axes, title: str, xlabel: str) -> None:
    """Title at the left, a quiet grid, no frame."""
    axes.set_title(title, loc="left", color=MUTED)
    axes.set_xlabel(xlabel)
    axes.set_axisbelow(True)
    axes.yaxis.grid(True, color=GRID, linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="both", length=0)
