"""What ``crisp-loop compare`` prints: two result sets, the largest change first."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from crisp_loop.cli.tables import plain_table
from crisp_loop.report.compare import Comparison, rows_grid, totals_grid
from crisp_loop.report.grid import Grid

_MOST = 3
"""How many changes of one setting are spelled out."""


def totals_change(comparison: Comparison) -> Table:
    """Both sets' totals over the layers that they share, and what else differs."""
    table = _table(totals_grid(comparison), without=("layers",))
    table.title = Text(f"A: {comparison.first}   B: {comparison.second}")
    table.caption = Text(settings_in_words(comparison))
    return table


def rows_change(comparison: Comparison, tolerance: float) -> Table:
    """Rows that change by more than ``tolerance``."""
    changed = comparison.changed(tolerance)
    table = _table(rows_grid(changed), without=("differs", "speedup_a", "energy_gain_a"))
    hidden = len(comparison.rows) - len(changed)
    limit = f"by {tolerance:.3g} at most" if tolerance else "not at all"
    alone = {name: int((comparison.rows["in"] == name).sum()) for name in ("A", "B")}
    notes = [f"{count} rows only in {name}" for name, count in alone.items() if count]
    notes += [f"{hidden} rows that change {limit} are not shown"] if hidden else []
    table.caption = Text("; ".join(notes)) if notes else None
    return table


def settings_in_words(comparison: Comparison) -> str:
    """Which settings differ, and from what to what."""
    if not comparison.settings:
        return "same pattern, engine, energy tables and mappings in every row that both have"
    parts = []
    for name, changes in comparison.settings.items():
        pairs = [f"{a or 'none'} to {b or 'none'}" for a, b in list(changes)[:_MOST]]
        pairs += [f"{len(changes) - _MOST} more"] if len(changes) > _MOST else []
        rows = sum(changes.values())
        parts.append(f"{name} in {rows} {'row' if rows == 1 else 'rows'} ({', '.join(pairs)})")
    return f"differ: {'; '.join(parts)}"


def _table(grid: Grid, without: tuple[str, ...]) -> Table:
    columns = [index for index, head in enumerate(grid.heads) if head.column not in without]
    first, *others = (grid.heads[index].title for index in columns)
    table = plain_table(first, *others)
    for index, column in zip(columns, table.columns, strict=True):
        column.justify = "right" if grid.heads[index].number else "left"
        column.overflow = "fold"
    for row in grid.rows:
        table.add_row(*(Text(row[index].shown) for index in columns))
    return table
