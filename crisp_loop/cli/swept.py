"""What a sweep came to, in words."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from crisp_loop.sweep import SweepSummary

SHOWN = 10
"""Reasons of failures that are listed."""


def told(summary: SweepSummary) -> str:
    """One line on how many points there are, and what became of them."""
    left = summary.points - summary.known - summary.priced
    parts = [f"{summary.points:,} points", f"{summary.known:,} known"]
    parts.append(f"{summary.priced:,} priced now" if summary.priced or not left else "")
    parts.append(f"{left:,} to be priced" if left else "")
    parts.append(f"{summary.failed:,} failed" if summary.failed else "")
    return ", ".join(part for part in parts if part)


def failures_table(summary: SweepSummary) -> Table:
    """Why points failed, the most frequent reason first."""
    table = Table(title=Text("Points that failed", style="bold"), title_justify="left", box=None)
    table.add_column("points", justify="right")
    table.add_column("why")
    for reason, count in list(summary.failures.items())[:SHOWN]:
        table.add_row(f"{count:,}", Text(reason))
    if (more := len(summary.failures) - SHOWN) > 0:
        table.add_row("", Text(f"and {more} reasons more: SELECT DISTINCT failure", style="dim"))
    return table
