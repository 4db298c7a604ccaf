"""What all figures share: colours, style, and files whose bytes depend on the data alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crisp_loop.core.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442", "#000000")
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""
INK, MUTED, GRID = "#222222", "#666666", "#E4E4E4"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a layer's name may hold dollars
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "crisp_loop",
    "svg.fonttype": "path",
}
"""For matplotlib.rc_context, around drawing and saving."""


def save_figure(figure: Figure, files: Sequence[Path]) -> None:
    """Write a figure into each of ``files``, whose endings name the format (png or svg).

    Equal figures make equal bytes.
    """
    for file in files:
        kind = file.suffix.removeprefix(".")
        undated = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        with replacing(file) as temporary:
            figure.savefig(temporary, format=kind, dpi=160, metadata=undated)
