"""What ``crisp-loop compare`` prints: two result sets, the largest change first."""

from __future__ import annotations

from collections import Counter

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from crisp_loop.report.compare import Comparison, rows_grid, totals_grid
from crisp_loop.report.grid import Grid

_MOST = 3
"""How many changes of one setting are spelled out."""
_ROWS = ("layer", "model", "accelerator", "cycles_a", "cycles_b", "cycles_ratio")
_ROWS += ("energy_uJ_a", "energy_uJ_b", "energy_uJ_ratio")
_TOTALS = ("model", "accelerator", "cycles_a", "cycles_b", "cycles_ratio", "energy_uJ_ratio")
_TOTALS += ("speedup_a", "speedup_b", "energy_gain_a", "energy_gain_b")


def rows_change(comparison: Comparison, tolerance: float) -> Table:
    """Rows of both sets that change by more than ``tolerance``."""
    changed = comparison.changed(tolerance)
    return _table(rows_grid(changed.loc[changed["in"] == "both"]), _ROWS)


def rows_in_words(comparison: Comparison, tolerance: float) -> str:
    """How many rows :func:`rows_change` leaves out, and why; empty if none."""
    hidden = len(comparison.rows) - len(comparison.changed(tolerance))
    limit = f"by {tolerance:.3g} at most" if tolerance else "not at all"
    notes = [_alone(comparison, name) for name in ("A", "B")]
    notes += [f"{_rows(hidden)} change {limit} and are not shown"] if hidden else []
    return "; ".join(note for note in notes if note)


def totals_change(comparison: Comparison) -> Table:
    """Both sets' totals over the layers that they share."""
    table = _table(totals_grid(comparison), _TOTALS)
    table.title = Text(f"A is {comparison.first}, B is {comparison.second}; layers of both")
    return table


def settings_in_words(comparison: Comparison) -> str:
    """Which settings differ between rows, and from what to what."""
    if not comparison.settings:
        return "same pattern, engine, energy tables and mappings in every row that both have"
    parts = []
    for name, changes in comparison.settings.items():
        pairs = [f"{a or 'none'} to {b or 'none'}" for a, b in list(changes)[:_MOST]]
        pairs += [f"{len(changes) - _MOST} more"] if len(changes) > _MOST else []
        parts.append(f"{name} in {_rows(sum(changes.values()))} ({', '.join(pairs)})")
    return f"differ: {'; '.join(parts)}"


def _alone(comparison: Comparison, name: str) -> str:
    """How many rows only one set has, by design."""
    rows = comparison.rows.loc[comparison.rows["in"] == name]
    counts = Counter(rows["accelerator"])
    if not counts:
        return ""
    return f"only in {name}: " + ", ".join(f"{count} of {each}" for each, count in counts.items())


def _rows(count: int) -> str:
    return f"{count} {'row' if count == 1 else 'rows'}"


def _table(grid: Grid, shown: tuple[str, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, title_justify="left", padding=0, pad_edge=False)
    columns = [index for index, head in enumerate(grid.heads) if head.column in shown]
    for index in columns:
        head = grid.heads[index]
        # Titles go over two lines, so that figures fit beside each other in 80 columns.
        title = head.title.replace("speed-up", "speed-\nup").replace("energy ", "energy\n")
        title = title.replace("cycles ", "cycles\n")
        side = "right" if head.number else "left"
        table.add_column(title, justify=side, no_wrap=head.number, overflow="fold")
        if head.column == "accelerator":
            table.columns[-1].min_width = 10
    for row in grid.rows:
        table.add_row(*(Text(row[index].shown) for index in columns))
    return table
