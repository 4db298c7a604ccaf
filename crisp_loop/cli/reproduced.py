"""``crisp-loop reproduce``: its table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from crisp_loop.cli.tables import plain_table
from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS
from crisp_loop.reproduce.write import Reproduced, claimed_text, distance_text, measured_text

_COLOURS = {FOLLOWS: "green", DIFFERS: "red"}


def outcomes_table(done: Sequence[Reproduced]) -> Table:
    """One row a claim of the paper."""
    table = plain_table("figure", "the paper", "its number", "measured", "distance", "verdict")
    for column in table.columns[1:]:
        column.justify = "left"
    last = ""
    for each in done:
        for outcome in each.outcomes:
            name = each.figure.name
            table.add_row(
                name if name != last else "",
                Text(outcome.claim.says, overflow="fold"),
                Text(claimed_text(outcome)),
                Text(measured_text(outcome)),
                Text(distance_text(outcome)),
                Text(outcome.verdict, style=_COLOURS.get(outcome.verdict, "yellow")),
            )
            last = name
    table.caption = "points: percentage points of test accuracy; +- the standard error over runs"
    return table
