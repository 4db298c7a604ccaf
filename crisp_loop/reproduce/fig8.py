"""Fig. 8: speed-up and energy gain of ResNet-50's layers on the designs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from crisp_loop.accelerators import load_accelerator
from crisp_loop.core.files import sha256
from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.figure import Outcome, PaperFigure
from crisp_loop.reproduce.hardware.claims import CLAIMS
from crisp_loop.reproduce.hardware.draw import draw_layers
from crisp_loop.reproduce.hardware.measure import (
    EVERYTHING,
    Measured,
    base_points,
    measure_hardware,
)
from crisp_loop.reproduce.hardware.shapes import shapes
from crisp_loop.reproduce.hardware.tables import energy_table
from crisp_loop.reproduce.scale import Scale

SHOWN = ("layer1.0.conv2", "layer3.0.conv2", "layer4.0.conv2", "layer4.1.conv1")
"""Layers whose energies are told level by level: 3 x 3 early, middle and late, and a late 1 x 1."""


def points_key(points: Sequence[Measured]) -> object:
    """All that decides the rows of ``points``: experiments, and the designs' numbers."""
    designs = {name: load_accelerator(name).model_dump(mode="json") for name in EVERYTHING}
    return {
        "experiments": [point.experiment.model_dump(mode="json") for point in points],
        "designs": sha256(json.dumps(designs, sort_keys=True)),
    }


def _measure(scale: Scale, out: Path, progress: Progress) -> pd.DataFrame:
    return measure_hardware(base_points(), out / "fig8", progress)


def _draw(rows: pd.DataFrame) -> Figure:
    return draw_layers(shapes(rows))


def _judge(rows: pd.DataFrame) -> list[Outcome]:
    chosen = shapes(rows)
    return [each.judged(chosen) for each in CLAIMS]


def _describe(rows: pd.DataFrame, scale: Scale) -> str:
    return "\n\n".join(
        [
            "Masks are drawn at the pattern, with the same sparsity kappa = .90 in every layer,"
            " rounded to whole blocks: layers with K = 64 or 128 cannot be pruned to .90 in blocks"
            " of 64, as a block-row keeps at least one block. Every design has the same memories,"
            " bandwidths and number of multipliers, and its best mapping by the same exact search;"
            " ratios are over the dense design's best mapping. Each shape counts once; stem and"
            " classifier, which stay dense, not at all.",
            "Where the energy goes (microjoules at 2:4, B = 64; *on chip* leaves DRAM out):",
            energy_table(rows, SHOWN),
            "How the claims fare under other bandwidths, widths, stores, batches and sparsities:"
            " `crisp-loop reproduce fig8-settings`.",
        ]
    )


FIGURE = PaperFigure(
    name="fig8",
    title="ResNet-50 by layer on CRISP-STC, NVIDIA-STC and DSTC, over dense",
    shows="Speed-up and energy efficiency of representative layers at 1:4, 2:4 and 3:4 with blocks"
    " of 16, 32 and 64; the text gives ranges, not the bars' values.",
    claims=tuple(each.claim for each in CLAIMS),
    measure=_measure,
    draw=_draw,
    judge=_judge,
    describe=_describe,
    settings=lambda scale: points_key(base_points()),
)
"""The same at every scale: it takes no data and no training."""
