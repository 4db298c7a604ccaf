"""The results as tables for a terminal."""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from crisp_loop.report.numbers import energy, times


def totals_for_terminal(totals: pd.DataFrame) -> Table:
    """Cycles, energy and ratios of each accelerator over the whole network."""
    models = list(dict.fromkeys(totals["model"]))
    engines = ", ".join(dict.fromkeys(totals["engine"]))
    baseline = ", ".join(dict.fromkeys(totals["baseline"]))
    counts = ", ".join(str(count) for count in dict.fromkeys(totals["layers"]))
    table = _table(f"{', '.join(models)}, {counts} layers by the {engines} engine, over {baseline}")
    if len(models) > 1:
        table.add_column("model", no_wrap=True)
    table.add_column("accelerator", no_wrap=True)
    for name in ("cycles", "energy µJ", "speed-up", "geomean", "energy\ngain", "geomean"):
        table.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    for row in totals.to_dict("records"):
        cells = [str(row["model"])] if len(models) > 1 else []
        cells += [
            str(row["accelerator"]),
            f"{row['cycles']:,}",
            energy(row["energy_uJ"]),
            times(row["speedup"]),
            times(row["speedup_geomean"]),
            times(row["energy_gain"]),
            times(row["energy_gain_geomean"]),
        ]
        best = totals.loc[totals["model"] == row["model"], "speedup"].max()
        table.add_row(*map(Text, cells), style="bold" if row["speedup"] == best else None)
    return table


def layers_for_terminal(results: pd.DataFrame, baseline: str) -> Table:
    """Cycles, energy, ratios and bottleneck of each layer on each accelerator."""
    models = ", ".join(dict.fromkeys(results["model"]))
    table = _table(f"{models}: layers, ratios over {baseline}")
    table.add_column("layer", no_wrap=True)
    table.add_column("M x K x N", justify="right", no_wrap=True)
    table.add_column("accelerator", no_wrap=True)
    for name in ("density", "cycles", "energy µJ", "speed-up", "energy\ngain"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("bottleneck", no_wrap=True)
    last = None
    for row in results.to_dict("records"):
        layer = (row["model"], row["layer"])
        if last not in (None, layer):
            table.add_section()
        cells = [
            str(row["layer"]) if layer != last else "",
            f"{row['M']} x {row['K']} x {row['N']}" if layer != last else "",
            str(row["accelerator"]),
            f"{row['weight_density']:.3f}",
            f"{row['cycles']:,}",
            energy(row["energy_uJ"]),
            times(row["speedup"]),
            times(row["energy_gain"]),
            str(row["bottleneck"]),
        ]
        table.add_row(*map(Text, cells), style="dim" if row["accelerator"] == baseline else None)
        last = layer
    return table


def _table(title: str) -> Table:
    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
