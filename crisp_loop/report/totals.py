"""One row a model and accelerator: sums and means over the layers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

TOTAL_COLUMNS = (
    "model",
    "accelerator",
    "baseline",
    "layers",
    "cycles_model",
    "cycles",
    "energy_uJ",
    "edp",
    "dram_words",
    "smem_words",
    "metadata_bits",
    "speedup",
    "energy_gain",
    "speedup_geomean",
    "energy_gain_geomean",
    "engine",
    "engine_version",
)
"""Columns of ``totals.csv``; ``docs/results-table.md`` says what each one means."""

_SUMMED = ("cycles_model", "cycles", "energy_uJ", "dram_words", "smem_words", "metadata_bits")


def totals_table(results: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Totals over the layers of each (model, accelerator), in the results' order.

    Ratios compare the same layers: the baseline's sum runs over the layers that the accelerator
    has.

    Args:
        results: A results table.
        baseline: The accelerator that its ratios are taken over.
    """
    rows = []
    for model, accelerator in dict.fromkeys(
        zip(results["model"], results["accelerator"], strict=True)
    ):
        part = results[(results["model"] == model) & (results["accelerator"] == accelerator)]
        same_layers = results[
            (results["model"] == model)
            & (results["accelerator"] == baseline)
            & results["layer"].isin(part["layer"])
        ]
        sums = {name: pd.Series(part[name]).sum(min_count=1) for name in _SUMMED}
        rows.append(
            {
                "model": model,
                "accelerator": accelerator,
                "baseline": baseline,
                "layers": len(part),
                **sums,
                "edp": sums["energy_uJ"] * 1e-6 * sums["cycles"],
                "speedup": same_layers["cycles"].sum() / sums["cycles"],
                "energy_gain": same_layers["energy_uJ"].sum() / sums["energy_uJ"],
                "speedup_geomean": geomean(part["speedup"]),
                "energy_gain_geomean": geomean(part["energy_gain"]),
                "engine": ", ".join(dict.fromkeys(part["engine"])),
                "engine_version": ", ".join(dict.fromkeys(part["engine_version"])),
            }
        )
    frame = pd.DataFrame(rows, columns=list(TOTAL_COLUMNS))
    return frame.astype({"dram_words": "Int64", "smem_words": "Int64"})


def geomean(ratios: npt.ArrayLike) -> float:
    """Geometric mean of positive ratios."""
    return float(np.exp(np.log(np.asarray(ratios, dtype=np.float64)).mean()))
