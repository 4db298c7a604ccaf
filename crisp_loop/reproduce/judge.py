"""From what was measured to a verdict, by the same rules for every figure."""

from __future__ import annotations

import pandas as pd

from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS, UNJUDGED, Claim, Outcome, Verdict
from crisp_loop.reproduce.rows import Mean

ERRORS = 2.0
"""Standard errors that a difference must be away from 0 to be told from chance."""


def judge_number(claim: Claim, value: float, remark: str, error: float | None = None) -> Outcome:
    """A measured number against the paper's: it follows inside the claim and its slack."""
    near = abs(claim.distance(value)) <= claim.slack
    return Outcome(claim, FOLLOWS if near else DIFFERS, (value,), error, remark)


def judge_difference(claim: Claim, differences: pd.Series, remark: str) -> Outcome:
    """Differences, one a run, against a claim that they are above (``low``) or below 0 (``high``).

    It follows if their mean is more than two standard errors on the claimed side, does not if it
    is as far on the other side, and cannot be judged in between or with less than two runs.
    """
    if differences.empty:
        return unjudged(claim, f"Nothing was measured: {remark}")
    mean = Mean.of(differences)
    sign = -1 if claim.low is None else 1
    remark = f"{remark} ({mean.runs} runs, {int((sign * differences > 0).sum())} as claimed)"
    if mean.runs < 2:
        return Outcome(claim, UNJUDGED, (mean.value,), None, f"{remark}; one run has no error")
    away = sign * mean.value
    verdict: Verdict = FOLLOWS
    if away <= ERRORS * mean.error:
        verdict = DIFFERS if away < -ERRORS * mean.error else UNJUDGED
        if away == mean.error == 0:
            verdict = DIFFERS
    if verdict == UNJUDGED:
        remark += f"; within {ERRORS:g} standard errors of 0"
    return Outcome(claim, verdict, (mean.value,), mean.error, remark)


def unjudged(claim: Claim, why: str, *measured: float) -> Outcome:
    """No verdict, and why; with what was measured, if anything."""
    return Outcome(claim, UNJUDGED, measured, None, why)
