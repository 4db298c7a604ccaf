"""Rows of measured points: made, averaged over runs, and compared run by run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import pandas as pd

from crisp_loop.reproduce.points import Found, Point
from crisp_loop.reproduce.protocol import Protocol

K = TypeVar("K", bound=Hashable)
Run = tuple[str, int, int]
"""Network, draw and seed: methods are compared within one."""


@dataclass(frozen=True)
class Row:
    """One row of the CSV file of Figs. 1, 3 and 7: one pruned network."""

    scale: str
    data: str
    network: str
    series: str
    """The line of the figure that it belongs to."""
    nm: str
    block: int
    kappa: float
    """Sparsity that was asked for."""
    user_classes: int
    draw: int
    """Of user classes."""
    seed: int
    classes: str
    """Ids of the user's classes."""
    sparsity: float
    """As all that follows, of :class:`~crisp_loop.reproduce.points.Found`; NaN where left out."""
    macs_ratio: float
    flops_ratio: float
    test_samples: int
    test_top1: float
    test_top1_among_user_classes: float
    val_top1: float
    left_out: str
    """Why nothing was measured; else empty."""

    @property
    def run(self) -> Run:
        """What tells runs apart."""
        return self.network, self.draw, self.seed


def points_table(
    protocol: Protocol, labelled: Sequence[tuple[str, Point]], found: Sequence[Found]
) -> pd.DataFrame:
    """One row a point, under the name of its series."""
    rows = [
        Row(
            scale=protocol.scale,
            data=point.data,
            network=point.network,
            series=series,
            nm=str(point.config.nm),
            block=point.config.block,
            kappa=point.config.sparsity,
            user_classes=point.user_classes,
            draw=point.draw,
            seed=point.config.seed,
            classes=" ".join(map(str, result.classes)),
            sparsity=result.sparsity,
            macs_ratio=result.macs_ratio,
            flops_ratio=result.flops_ratio,
            test_samples=result.test_samples,
            test_top1=result.test_top1,
            test_top1_among_user_classes=result.test_top1_among_user_classes,
            val_top1=result.val_top1,
            left_out=result.left_out,
        )
        for (series, point), result in zip(labelled, found, strict=True)
    ]
    return pd.DataFrame([asdict(row) for row in rows])


def measured(table: pd.DataFrame) -> list[Row]:
    """The rows of a :func:`points_table`, also of one that was read again, but for those left out.

    An empty cell of a CSV file comes back as NaN.
    """
    records: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    found = [record for record in records if not math.isnan(record["test_top1"])]
    for record in found:
        record.update(left_out="", classes=str(record["classes"]))
    return [Row(**record) for record in found]


@dataclass(frozen=True)
class Mean:
    """A mean over runs."""

    value: float
    error: float
    """Standard error; NaN of a single run."""
    runs: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Mean:
        """Of one value a run, at least one."""
        each = list(values)
        spread = statistics.stdev(each) / math.sqrt(len(each)) if len(each) > 1 else math.nan
        return cls(statistics.fmean(each), spread, len(each))

    def __str__(self) -> str:
        if math.isnan(self.error):
            return f"{self.value:.1f}"
        return f"{self.value:.1f} +- {self.error:.1f}"


@dataclass(frozen=True)
class Average:
    """One point of a figure."""

    top1: Mean
    """Test accuracy in percent."""
    sparsity: float
    """As the ratios, the mean over runs, 0 to 1."""
    flops_ratio: float

    def __str__(self) -> str:
        return str(self.top1)


def averaged(rows: Iterable[Row], by: Callable[[Row], K]) -> dict[K, Average]:
    """The average of every group of rows, in the order in which groups begin.

    Args:
        rows: Measured ones.
        by: What the rows of one group share.
    """
    return {
        key: Average(
            Mean.of(100 * row.test_top1 for row in group),
            statistics.fmean(row.sparsity for row in group),
            statistics.fmean(row.flops_ratio for row in group),
        )
        for key, group in grouped(rows, by).items()
    }


def grouped(rows: Iterable[Row], by: Callable[[Row], K]) -> dict[K, list[Row]]:
    """Rows by what they share."""
    groups: dict[K, list[Row]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row)
    return groups


def gains(
    rows: Sequence[Row],
    own: Callable[[Row], bool],
    other: Callable[[Row], bool],
    within: Callable[[Row], Hashable] = lambda row: None,
) -> dict[Run, float]:
    """Percentage points by which some rows are more accurate than others, one value a run.

    Only what both have is compared: the same network, draw, seed and ``within``, over which a run
    is averaged. A run has one network, one draw and one split of the data for all methods, so
    differences within runs vary less than the runs do.

    Args:
        rows: Measured ones.
        own: Whether a row is one of the first.
        other: Whether it is one of those that they are compared with.
        within: What has to be equal besides the run.
    """
    sides = [
        {
            key: statistics.fmean(100 * row.test_top1 for row in group)
            for key, group in grouped(
                filter(side, rows), lambda row: (row.run, within(row))
            ).items()
        }
        for side in (own, other)
    ]
    runs: dict[Run, list[float]] = {}
    for key, value in sides[0].items():
        if key in sides[1]:
            runs.setdefault(key[0], []).append(value - sides[1][key])
    return {run: statistics.fmean(values) for run, values in runs.items()}
