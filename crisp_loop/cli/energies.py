"""``crisp-loop energy``: its table for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from crisp_loop.energy.run import EnergyReport, EnergyRow


def energy_table(report: EnergyReport) -> Table:
    """One row an action; Accelergy's columns where it was asked."""
    asked = any(row.accelergy is not None for row in report.rows)
    table = Table(box=SIMPLE_HEAD)
    for name in ("design", "component", "action", "made of"):
        table.add_column(name)
    table.add_column("", justify="right")
    table.add_column("source")
    if asked:
        table.add_column("Accelergy", justify="right")
        table.add_column("difference", justify="right")
    last = ("", "")
    for row in report.rows:
        here = (row.accelerator, row.component)
        shown = [
            row.accelerator if here[0] != last[0] else "",
            row.component if here != last else "",
            row.action,
        ]
        cells: list[str | Text] = [*shown, Text(row.provenance), _value(row), row.source]
        if asked:
            cells += ["" if row.accelergy is None else f"{row.accelergy:.6g}", _difference(row)]
        table.add_row(*cells)
        last = here
    table.caption = (
        "an action on one block, an instance; exact: Accelergy's own answer, from the tables of"
        " arch/energy; interpolated: between its answers to neighbours; stated: by the arch file"
    )
    return table


def _value(row: EnergyRow) -> str:
    return f"{row.value:.6g} {'pJ' if row.unit == 'pJ' else 'µm²'}"


def _difference(row: EnergyRow) -> str:
    return "" if row.difference is None else f"{row.difference:+.2%}"
