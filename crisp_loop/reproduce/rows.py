"""Tables of measured points: made, averaged over runs, and compared run by run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from crisp_loop.reproduce.points import Found, Point
from crisp_loop.reproduce.protocol import Protocol

RUN = ["network", "draw", "seed"]
"""What tells runs apart: methods are compared within one."""
TOP1 = "test_top1"


def points_table(
    protocol: Protocol, series: Sequence[str], points: Sequence[Point], found: Sequence[Found]
) -> pd.DataFrame:
    """One row a point, under the name of its series."""
    rows = [
        {
            "scale": protocol.scale,
            "data": point.data,
            "network": point.network,
            "series": name,
            "nm": str(point.config.nm),
            "block": point.config.block,
            "kappa": point.config.sparsity,
            "user_classes": point.user_classes,
            "draw": point.draw,
            "seed": point.config.seed,
            "classes": " ".join(map(str, result.classes)),
            "sparsity": result.sparsity,
            "macs_ratio": result.macs_ratio,
            "flops_ratio": result.flops_ratio,
            "test_samples": result.test_samples,
            TOP1: result.test_top1,
            "test_top1_among_user_classes": result.test_top1_among_user_classes,
            "val_top1": result.val_top1,
            "left_out": result.left_out,
        }
        for name, point, result in zip(series, points, found, strict=True)
    ]
    return pd.DataFrame(rows)


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that were not left out."""
    return rows[rows[TOP1].notna()]


def averaged(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean accuracy over runs with its standard error, in percent, and what goes with it.

    Args:
        rows: As :func:`points_table` makes them.
        by: The columns that make one point of the figure.

    Returns:
        One row a group: ``by``, ``runs``, ``top1`` and ``error`` (percent), ``sparsity``,
        ``macs_ratio`` and ``flops_ratio`` (0 to 1).
    """
    groups = measured(rows).groupby(list(by), sort=False)
    table = groups.agg(
        runs=(TOP1, "size"),
        top1=(TOP1, "mean"),
        error=(TOP1, "sem"),
        sparsity=("sparsity", "mean"),
        macs_ratio=("macs_ratio", "mean"),
        flops_ratio=("flops_ratio", "mean"),
    ).reset_index()
    table[["top1", "error"]] *= 100
    return table


@dataclass(frozen=True)
class Mean:
    """A mean over runs."""

    value: float
    error: float
    """Standard error; NaN of a single run."""
    runs: int

    @classmethod
    def of(cls, values: pd.Series) -> Mean:
        """Of one value a run."""
        return cls(float(values.mean()), float(values.sem()), len(values))

    def __str__(self) -> str:
        return f"{self.value:.1f} +- {self.error:.1f}"


def gains(
    rows: pd.DataFrame, own: Mapping[str, object], other: Mapping[str, object], within: Sequence[str]
) -> pd.Series:
    """Percentage points by which one series is more accurate than another, one value a run.

    Only what both have is compared: the same network, draw and seed, and the same ``within``, over
    which a run is averaged. A run has one network, one draw and one split of the data for all
    methods, so differences within runs vary less than the runs do.

    Args:
        rows: As :func:`points_table` makes them.
        own: Column to value of the one series.
        other: The same for the other.
        within: The columns that have to be equal too.
    """
    keys = [*RUN, *within]
    mine = measured(rows)
    first, second = (
        mine[(mine[list(chosen)] == pd.Series(dict(chosen))).all(axis=1)].groupby(keys)[TOP1].mean()
        for chosen in (own, other)
    )
    difference = (100 * (first - second)).dropna()
    return difference.groupby(RUN).mean()
