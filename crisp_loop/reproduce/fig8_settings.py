"""Fig. 8 under other settings: which claims hang on which numbers of the designs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.fig8 import points_key
from crisp_loop.reproduce.figure import Outcome, PaperFigure
from crisp_loop.reproduce.hardware.claims import CLAIMS
from crisp_loop.reproduce.hardware.draw import draw_settings
from crisp_loop.reproduce.hardware.measure import (
    Measured,
    base_points,
    measure_hardware,
    sensitivity_points,
)
from crisp_loop.reproduce.hardware.settings import BASE
from crisp_loop.reproduce.hardware.shapes import shapes
from crisp_loop.reproduce.hardware.tables import measured_settings, ranges_table, verdicts_table
from crisp_loop.reproduce.scale import Scale


def _points() -> list[Measured]:
    return [*base_points(), *sensitivity_points()]


def _measure(scale: Scale, out: Path, progress: Progress) -> pd.DataFrame:
    return measure_hardware(_points(), out / "fig8", progress)


def _draw(rows: pd.DataFrame) -> Figure:
    titles = {each.name: f"{each.group}: {each.title}" for each, _ in measured_settings(rows)}
    titles[BASE] = "the shipped designs"
    return draw_settings(shapes(rows), titles)


def _judge(rows: pd.DataFrame) -> list[Outcome]:
    base = shapes(rows.loc[rows["setting"] == BASE])
    return [each.judged(base) for each in CLAIMS]


def _describe(rows: pd.DataFrame, scale: Scale) -> str:
    return "\n\n".join(
        [
            "One thing is changed at a time, in all designs, the dense one included, and every"
            " mapping is searched anew. Verdicts above are those of the base.",
            "## Speed-ups and energy gains by setting",
            "Least and most of the 19 shapes at B = 64; NVIDIA-STC and DSTC at 2:4.",
            ranges_table(rows),
            "## Claims by setting",
            verdicts_table(rows),
        ]
    )


FIGURE = PaperFigure(
    name="fig8-settings",
    title="Fig. 8's claims under other settings",
    shows="The paper gives no bandwidths, widths or sizes of its designs. What it says is asked"
    " here of designs with other ones.",
    claims=tuple(each.claim for each in CLAIMS),
    measure=_measure,
    draw=_draw,
    judge=_judge,
    describe=_describe,
    settings=lambda scale: points_key(_points()),
)
"""About half an hour on one core, as 35 settings have mappings of their own."""
