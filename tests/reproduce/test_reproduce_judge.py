"""Claims, distances and verdicts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS, UNJUDGED, Claim
from crisp_loop.reproduce.judge import judge_difference, judge_number, unjudged
from crisp_loop.reproduce.points import Found
from crisp_loop.reproduce.protocol import protocol_of
from crisp_loop.reproduce.rows import Mean, averaged, gains, measured, points_table
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.write import claimed_text, distance_text, measured_text

RANGE = Claim("7 to 14 times faster", "Sec. IV-B", 7, 14, "x")
BETTER = Claim("better", "Sec. I", low=0, unit="points")
WORSE = Claim("worse", "Sec. I", high=0, unit="points")


@pytest.mark.parametrize(
    ("value", "distance", "told"),
    [(10, 0, "none"), (7, 0, "none"), (5, -2, "-2 x (-29%)"), (21, 7, "+7 x (+50%)")],
)
def test_distance_is_to_the_nearest_end(value: float, distance: float, told: str) -> None:
    outcome = judge_number(RANGE, value, "")
    assert outcome.distance == distance
    assert distance_text(outcome) == told
    assert outcome.verdict == (FOLLOWS if distance == 0 else DIFFERS)


def test_slack_decides_the_verdict_and_not_the_distance() -> None:
    about = Claim("roughly 5x", "Fig. 4", 5, 5, "x", slack=1)
    assert judge_number(about, 5.9, "").verdict == FOLLOWS
    assert judge_number(about, 6.1, "").verdict == DIFFERS
    assert judge_number(about, 5.9, "").distance == pytest.approx(0.9)
    assert claimed_text(judge_number(about, 5, "")) == "about 5 x"
    assert claimed_text(judge_number(Claim("", "", low=85, unit="%", slack=1), 5, "")) == (
        "at least about 85 %"
    )


def test_of_several_values_the_farthest_counts() -> None:
    outcome = judge_number(RANGE, 8, "")
    both = type(outcome)(RANGE, DIFFERS, (6, 20), None, "")
    assert both.distance == 6
    assert measured_text(both) == "6 to 20 x"
    assert unjudged(RANGE, "why").distance is None


@pytest.mark.parametrize(
    ("claim", "values", "verdict"),
    [
        (BETTER, [1.0, 1.2, 0.9], FOLLOWS),
        (BETTER, [-1.0, -1.2, -0.9], DIFFERS),
        (BETTER, [3.0, -1.0, 0.5], UNJUDGED),
        (BETTER, [0.0, 0.0, 0.0], DIFFERS),
        (BETTER, [2.0, 2.0], FOLLOWS),
        (BETTER, [5.0], UNJUDGED),
        (BETTER, [], UNJUDGED),
        (WORSE, [-1.0, -1.2, -0.9], FOLLOWS),
        (WORSE, [1.0, 1.2, 0.9], DIFFERS),
    ],
)
def test_differences_must_be_told_from_chance(
    claim: Claim, values: list[float], verdict: str
) -> None:
    outcome = judge_difference(claim, values, "")
    assert outcome.verdict == verdict
    if len(values) > 1:
        assert outcome.error == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)))


def table(accuracies: dict[tuple[str, int, str], float]) -> pd.DataFrame:
    """Rows of (network, run, method) with an accuracy each; NaN is left out."""
    protocol = protocol_of(Scale())
    labelled, found = [], []
    for (network, run, method), top1 in accuracies.items():
        labelled.append((method, protocol.point(network, run, method=method)))
        found.append(Found(classes=(run,), test_top1=top1, sparsity=0.5, flops_ratio=0.25))
    return points_table(protocol, labelled, found)


def test_gains_compare_within_runs_only() -> None:
    accuracies = {
        ("digits-vgg", 0, "crisp"): 0.9, ("digits-vgg", 0, "blocks"): 0.8,
        ("digits-vgg", 1, "crisp"): 0.5, ("digits-vgg", 1, "blocks"): 0.6,
        ("digits-vgg", 2, "crisp"): 0.1,
        ("digits-resnet", 0, "crisp"): 0.7, ("digits-resnet", 0, "blocks"): float("nan"),
    }  # fmt: skip
    rows = measured(table(accuracies))
    found = gains(rows, lambda row: row.series == "crisp", lambda row: row.series == "blocks")
    assert found == {
        ("digits-vgg", 0, 0): pytest.approx(10),
        ("digits-vgg", 1, 1): pytest.approx(-10),
    }
    average = averaged(rows, lambda row: (row.network, row.series))["digits-vgg", "crisp"]
    assert average.top1.value == pytest.approx(50)
    assert average.top1.error == pytest.approx(100 * np.std([0.9, 0.5, 0.1], ddof=1) / 3**0.5)
    assert average.flops_ratio == 0.25


def test_a_single_run_has_no_error() -> None:
    assert str(Mean.of([98.24])) == "98.2"
    assert str(Mean.of([98.0, 99.0])) == "98.5 +- 0.5"
