"""Measure figures of the paper again, and say how far they are from it."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.reproduce.figure import PaperFigure
from crisp_loop.reproduce.kept import Measurement, keep, kept_rows, key_of
from crisp_loop.reproduce.registry import chosen
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.write import Reproduced, write_figure, write_index


def reproduce(
    figures: Sequence[str],
    scale: Scale | None = None,
    out: Path = Path("runs/reproduce"),
    progress: Progress | None = None,
) -> tuple[Reproduced, ...]:
    """Measure ``figures``, draw them, and judge the paper's claims by them.

    Writes for each figure ``figN.csv`` (every row that was measured), ``figN.png``, ``figN.svg``,
    ``figN.md`` (how it was measured, and each claim with what was found) and ``figN.json`` (what
    the rows depend on), and for all of them ``reproduce.md``. Rows that the same settings and
    version led to are not measured again; what a killed run had measured is used again too.

    Args:
        figures: Names of :data:`crisp_loop.reproduce.registry.FIGURES`, or ``all``.
        scale: Data, networks and weights; the digits by default.
        out: The results directory; made if missing.
        progress: Who hears how far it is.

    Raises:
        CrispLoopError: anything the user can mend, in one sentence; unknown figures and scales
            that cannot work before anything is measured.
    """
    progress, scale = progress or Quiet(), scale or Scale()
    wanted = chosen(tuple(figures))
    keys = {figure.name: key_of(figure, scale) for figure in wanted}
    done: list[Reproduced] = []
    for figure in progress.track(wanted, "Figures", len(wanted)):
        rows, measurement = _rows(figure, scale, keys[figure.name], out, progress)
        done.append(write_figure(figure, scale, rows, measurement, out))
        write_index(done, scale, out)
    return tuple(done)


def _rows(
    figure: PaperFigure, scale: Scale, key: str, out: Path, progress: Progress
) -> tuple[pd.DataFrame, Measurement]:
    """The rows of a figure: those that are kept, or measured now."""
    if (known := kept_rows(figure, key, out)) is not None:
        progress.note(f"{figure.name}: measured before with these settings.")
        return known
    started = time.perf_counter()
    rows = figure.measure(scale, out, progress)
    measurement = Measurement.now(
        key, datetime.date.today(), round(time.perf_counter() - started, 1)
    )
    return keep(figure, rows, measurement, out), measurement
