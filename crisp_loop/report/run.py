"""The report stage: manifest and evaluations in, one page, tables and a figure out."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crisp_loop.core.errors import CrispLoopError, InputError, shown
from crisp_loop.core.evaluation import Evaluations
from crisp_loop.core.files import read_json, read_text, write_text
from crisp_loop.core.manifest import Manifest
from crisp_loop.core.tables import read_csv
from crisp_loop.report.background import BackgroundFiles, read_background
from crisp_loop.report.export import as_latex, as_markdown
from crisp_loop.report.figure import draw_speedup
from crisp_loop.report.grid import totals_grid
from crisp_loop.report.page.render import render_page
from crisp_loop.report.rows import COLUMNS, MAYBE_EMPTY, results_table
from crisp_loop.report.totals import totals_table

RESULTS_FILE = "results.csv"
TOTALS_FILE = "totals.csv"
MARKDOWN_FILE, LATEX_FILE = "totals.md", "totals.tex"
PAGE_FILE = "report.html"
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
WIDEST, LONGEST_HEADER = 1000, 2**16
"""Columns and characters of a header; results have a few dozen, and users add theirs."""
FIGURE_FILES = ("speedup.png", "speedup.svg")


def write_report(
    manifest: Path,
    evaluations: Path,
    out_dir: Path,
    background: BackgroundFiles | None = None,
) -> Report:
    """Write the page ``report.html``, the tables behind it, and the speed-up figure.

    The tables are ``results.csv``, ``totals.csv``, ``totals.md`` and ``totals.tex``, the figure is
    ``speedup.png`` and ``speedup.svg``.

    Args:
        manifest: ``specs/manifest.json``: which spec stands for which layer.
        evaluations: ``cost/evaluations.json``: what an engine said of the specs.
        out_dir: Where the files go; each is replaced as a whole.
        background: What else of the run the page tells of; nothing else if None.

    Raises:
        CrispLoopError: an unreadable file, or a manifest that the evaluations do not cover.
    """
    entries = read_json(manifest, Manifest, "manifest")
    said = read_json(evaluations, Evaluations, "evaluations file")
    results = results_table(entries, said, manifest)
    totals = totals_table(results, entries.baseline)
    known = read_background(background or BackgroundFiles(), entries.model)
    compared = totals_grid(totals)
    texts = {
        RESULTS_FILE: results.to_csv(index=False, lineterminator="\n"),
        TOTALS_FILE: totals.to_csv(index=False, lineterminator="\n"),
        MARKDOWN_FILE: as_markdown(compared),
        LATEX_FILE: as_latex(compared),
        PAGE_FILE: render_page(results, totals, entries, said, manifest.parent, known),
    }
    for name, text in texts.items():
        write_text(out_dir / name, text)
    figure = tuple(out_dir / name for name in FIGURE_FILES)
    draw_speedup(results, entries.baseline, figure)
    return Report(
        results=results,
        totals=totals,
        baseline=entries.baseline,
        files=(*(out_dir / name for name in texts), *figure),
    )


@dataclass(frozen=True, eq=False)
class Report:
    """What the report stage wrote."""

    results: pd.DataFrame
    """One row a layer and accelerator."""
    totals: pd.DataFrame
    """One row a model and accelerator."""
    baseline: str
    """The accelerator that every ratio is taken over."""
    files: tuple[Path, ...]
    """results.csv, totals.csv, totals.md, totals.tex, report.html, speedup.png, speedup.svg."""


def report_of_table(path: Path) -> Report:
    """The report of a ``results.csv`` alone, its baseline told from its ratios.

    Raises:
        CrispLoopError: see :func:`read_results`; also when no design has ratios of 1 throughout.
    """
    results = read_results(path)
    even = (results["speedup"] == 1) & (results["energy_gain"] == 1)
    others = set(results.loc[~even, "accelerator"])
    baselines = [name for name in results["accelerator"] if name not in others]
    if not baselines:
        raise CrispLoopError(f"{path} holds no baseline: no design's ratios are 1 throughout.")
    totals = totals_table(results, baselines[0])
    return Report(results=results, totals=totals, baseline=baselines[0], files=(path,))


def read_results(path: Path) -> pd.DataFrame:
    """The table of a ``results.csv``, with the types that :func:`write_report` gave it.

    Raises:
        CrispLoopError: a file that is missing or no CSV, lacks a column, or holds text where a
            number belongs.
    """
    _check_header(path, read_text(path, "results table"))
    texts = ("model", "layer", "accelerator", "bottleneck", "engine", "engine_version")
    as_text = dict.fromkeys((*texts, "ert", "mapping", "spec", "rendered_by"), str)
    try:
        frame = read_csv(path, as_text)
    except ValueError as error:
        raise CrispLoopError(f"{path} is not a readable CSV table: {error}.") from None
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise CrispLoopError(f"{path} lacks the column {missing[0]!r}; expected a results table.")
    frame = frame[list(COLUMNS)].fillna(dict.fromkeys(as_text, ""))
    for name in COLUMNS:
        if name in as_text:
            _check_texts(path, name, frame[name].tolist())
        else:
            _check_numbers(path, name, frame[name].tolist())
    whole = (*MAYBE_EMPTY, "cycles", "cycles_model")
    try:
        frame[list(whole)].astype("Int64")
        return frame.astype(dict.fromkeys(MAYBE_EMPTY, "Int64"))
    except (TypeError, ValueError, OverflowError):
        names = ", ".join(whole)
        raise CrispLoopError(f"{path}: expected whole numbers in {names}.") from None


def _check_header(path: Path, text: str) -> None:
    # pandas tells columns of one name apart in a time that grows with the square of their number.
    start = io.StringIO(text[:LONGEST_HEADER], newline="")
    try:
        columns = len(next(csv.reader(start), []))
    except csv.Error as error:
        raise CrispLoopError(f"{path} is not a readable CSV table: {error}.") from None
    if columns > WIDEST or start.tell() == LONGEST_HEADER:
        raise CrispLoopError(
            f"{path} has a header of more than {WIDEST} columns or {LONGEST_HEADER} characters;"
            " expected a results table."
        )


def _check_texts(path: Path, name: str, column: list[str]) -> None:
    for value in column:
        if not value.isprintable():
            raise InputError(path, name, value, "expected one line of printable text")


def _check_numbers(path: Path, name: str, column: list[object]) -> None:
    # One text among numbers makes texts of them all.
    texts = [value for value in column if isinstance(value, str)]
    if texts:
        wrong = next((text for text in texts if not _NUMBER.fullmatch(text)), texts[0])
        raise CrispLoopError(f"{path}: {name} holds {shown(wrong)}; expected a number.")
