"""Two results tables side by side: what changed, row by row and in all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import is_directory, is_file, write_text
from crisp_loop.report import numbers
from crisp_loop.report.export import as_csv, as_latex, as_markdown
from crisp_loop.report.grid import DESIGN, MODEL, Grid, Head, grid_of
from crisp_loop.report.page.template import fill
from crisp_loop.report.rows import COLUMNS
from crisp_loop.report.run import RESULTS_FILE, read_results

KEYS = ["model", "layer", "accelerator"]
"""What makes two rows the same; patterns may differ."""
FIGURES = ("cycles", "energy_uJ", "speedup", "energy_gain")
"""Columns that are compared as numbers."""
CHANGES = ("cycles", "energy_uJ")
"""Those whose ratio between the two sets is told."""
_RATIOS = [f"{name}_ratio" for name in CHANGES]

ENDINGS = (".csv", ".md", ".tex", ".html")
"""Of the files that a comparison can be written to."""

_FOLLOWS = {"cycles_model", "edp", "utilization", "bottleneck"}
_FOLLOWS |= {"dram_words", "smem_words", "metadata_bits"}
SETTINGS = tuple(name for name in COLUMNS if name not in {*KEYS, *FIGURES, *_FOLLOWS})
"""Columns that may explain a change: pattern, shape, engine, energy table, mapping."""


def compare_results(first: Path, second: Path) -> Comparison:
    """Compare two result sets, each a run's directory or a ``results.csv``.

    Rows of one model, layer and accelerator are the same row, whatever the pattern, engine or
    mapping; those that differ are named.

    Raises:
        CrispLoopError: unreadable tables, a row that stands there twice, or nothing in common.
    """
    tables = [_read(path) for path in (first, second)]
    merged = tables[0].merge(
        tables[1], on=KEYS, how="outer", suffixes=("_a", "_b"), indicator="where"
    )
    # Pandas sorts by name; A's order is the network's.
    merged = merged.sort_values(["place_a", "place_b"], ignore_index=True)
    both = merged["where"] == "both"
    if not both.any():
        raise CrispLoopError(
            f"{first} and {second} have no row of one model, layer and accelerator in common."
        )
    rows = merged[KEYS].copy()
    rows["in"] = merged["where"].map({"both": "both", "left_only": "A", "right_only": "B"})
    rows["in"] = rows["in"].astype(str)
    _add_figures(rows, merged)
    rows["differs"] = [
        _differences(row) if matched else ""
        for row, matched in zip(merged.to_dict("records"), both, strict=True)
    ]
    order = np.lexsort((-_change(rows), ~both))
    return Comparison(
        first=str(first),
        second=str(second),
        rows=rows.iloc[order].reset_index(drop=True),
        totals=_totals(merged.loc[both]),
        settings=_setting_changes(merged.loc[both]),
    )


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result sets A and B, matched row by row."""

    first: str
    second: str
    rows: pd.DataFrame
    """``model``, ``layer``, ``accelerator``, ``in`` (``both``, ``A`` or ``B``), each figure as
    ``<name>_a`` and ``<name>_b``, ``cycles_ratio`` and ``energy_uJ_ratio`` (B / A), and
    ``differs``; the largest change first, rows of one set last."""
    totals: pd.DataFrame
    """The same figures over each model and accelerator, summed over the rows that both have."""
    settings: dict[str, dict[tuple[str, str], int]]
    """Column to (value in A, value in B) to the number of rows, where they differ."""

    def changed(self, tolerance: float) -> pd.DataFrame:
        """Rows that are in one set only, or whose cycles or energy change by more.

        Args:
            tolerance: Relative, 0 or more: 0.01 hides changes up to 1 %.
        """
        # 1.01 - 1 is a little more than 0.01.
        within = (self.rows[_RATIOS] - 1).abs().max(axis=1) <= tolerance + 1e-12
        return self.rows.loc[~(within & (self.rows["in"] == "both"))]


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write all rows as CSV, Markdown, LaTeX or HTML, as the ending of ``out`` says.

    Raises:
        InputError: another ending.
    """
    rows = rows_grid(comparison.rows)
    if out.suffix == ".csv":
        text = as_csv(rows)
    elif out.suffix in (".md", ".tex"):
        written = as_markdown if out.suffix == ".md" else as_latex
        text = f"{written(totals_grid(comparison))}\n{written(rows)}"
    else:
        check_ending(out)
        text = fill(
            "comparison.html.jinja2",
            comparison=comparison,
            totals=totals_grid(comparison),
            rows=rows,
        )
    write_text(out, text)


def check_ending(out: Path) -> None:
    """Refuse a file that :func:`write_comparison` has no format for."""
    if out.suffix not in ENDINGS:
        expected = f"expected a name that ends in {', '.join(ENDINGS)}"
        raise InputError("--out", "", str(out), expected)


def rows_grid(rows: pd.DataFrame) -> Grid:
    """Rows of a :class:`Comparison` for people."""
    layer = Head("layer", "layer", number=False)
    where = Head("in", "in", number=False, about="both sets, or one of them")
    differs = Head("differs", "differs", number=False, about="what else is not the same")
    return grid_of(rows, (layer, *_models(rows), DESIGN, where, *FIGURE_HEADS, differs))


def totals_grid(comparison: Comparison) -> Grid:
    """Totals of a :class:`Comparison` for people."""
    layers = Head("layers", "layers", numbers.count, about="that both sets have")
    totals = comparison.totals
    return grid_of(totals, (DESIGN, *_models(totals), layers, *FIGURE_HEADS))


def _models(rows: pd.DataFrame) -> tuple[Head, ...]:
    return (MODEL,) if rows["model"].nunique() > 1 else ()


def _change_of(ratio: float) -> str:
    """In percent; what would round to nothing is told from what is nothing."""
    change = ratio - 1
    if not change:
        return "0%"
    return f"{change:+.1%}" if abs(change) >= 0.0005 else f"{change:+.0e}"


FIGURE_HEADS = (
    Head("cycles_a", "cycles A", numbers.count),
    Head("cycles_b", "cycles B", numbers.count),
    Head("cycles_ratio", "cycles change", _change_of, about="B over A"),
    Head("energy_uJ_a", "energy A (µJ)", numbers.energy),
    Head("energy_uJ_b", "energy B (µJ)", numbers.energy),
    Head("energy_uJ_ratio", "energy change", _change_of, about="B over A"),
    Head("speedup_a", "speed-up A", numbers.times),
    Head("speedup_b", "speed-up B", numbers.times),
    Head("energy_gain_a", "energy gain A", numbers.times),
    Head("energy_gain_b", "energy gain B", numbers.times),
)


def _read(path: Path) -> pd.DataFrame:
    table = path / RESULTS_FILE if is_directory(path) else path
    if is_directory(path) and not is_file(table):
        raise CrispLoopError(f"{path} holds no {RESULTS_FILE}; run crisp-loop report on it.")
    results = read_results(table)
    twice = results[results.duplicated(KEYS)]
    if not twice.empty:
        row = twice.iloc[0]
        raise CrispLoopError(
            f"{table}: layer {row['layer']} of {row['model']} stands there twice for"
            f" {row['accelerator']}; rows of two sets can be matched only if they differ."
        )
    return results.assign(place=range(len(results)))


def _add_figures(rows: pd.DataFrame, merged: pd.DataFrame) -> None:
    for name in FIGURES:
        for end in ("a", "b"):
            values = merged[f"{name}_{end}"]
            rows[f"{name}_{end}"] = values.astype("Int64") if name == "cycles" else values
        if name in CHANGES:
            ratio = merged[f"{name}_b"].astype(float) / merged[f"{name}_a"].astype(float)
            rows[f"{name}_ratio"] = ratio


def _change(rows: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How far each row's ratios are from 1, as logarithms: halved is as far as doubled."""
    ratios = rows[_RATIOS].to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore"):
        far = np.abs(np.log(ratios)).max(axis=1)
    return np.nan_to_num(far, nan=0.0, posinf=np.inf)


def _differences(row: dict[str, object]) -> str:
    pairs = ((name, _text(row[f"{name}_a"]), _text(row[f"{name}_b"])) for name in SETTINGS)
    return "; ".join(f"{name} {a or 'none'} to {b or 'none'}" for name, a, b in pairs if a != b)


def _setting_changes(merged: pd.DataFrame) -> dict[str, dict[tuple[str, str], int]]:
    found: dict[str, dict[tuple[str, str], int]] = {}
    for name in SETTINGS:
        before, after = ([_text(value) for value in merged[f"{name}_{end}"]] for end in "ab")
        for a, b in zip(before, after, strict=True):
            if a != b:
                counts = found.setdefault(name, {})
                counts[a, b] = counts.get((a, b), 0) + 1
    return found


def _text(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, float):
        # Whole numbers became floats where the other set lacks rows.
        return f"{value:.0f}" if value.is_integer() else f"{value:.6g}"
    return str(value)


def _totals(merged: pd.DataFrame) -> pd.DataFrame:
    """Sums over each model and accelerator; ratios over the same rows' baseline, told from them."""
    groups = merged.groupby(["model", "accelerator"], sort=False)
    totals = groups["layer"].count().reset_index().rename(columns={"layer": "layers"})
    for end in ("a", "b"):
        for name, gain in (("cycles", "speedup"), ("energy_uJ", "energy_gain")):
            here = merged[f"{name}_{end}"].astype(float)
            keys = [merged["model"], merged["accelerator"]]
            sums = here.groupby(keys, sort=False).sum()
            # A ratio times its row's figure is the baseline's figure.
            baseline = (here * merged[f"{gain}_{end}"]).groupby(keys, sort=False).sum()
            totals[f"{name}_{end}"] = sums.to_numpy()
            totals[f"{gain}_{end}"] = (baseline / sums).to_numpy()
    for end in ("a", "b"):
        totals[f"cycles_{end}"] = totals[f"cycles_{end}"].round().astype("int64")
    for name in CHANGES:
        totals[f"{name}_ratio"] = totals[f"{name}_b"] / totals[f"{name}_a"]
    return totals
