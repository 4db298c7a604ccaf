"""From what was measured to a verdict, by the same rules for every figure."""

from __future__ import annotations

from collections.abc import Collection

from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS, UNJUDGED, Claim, Outcome, Verdict
from crisp_loop.reproduce.rows import Mean

ERRORS = 2.0
"""Standard errors that a difference must be away from 0 to be told from chance."""


def judge_number(claim: Claim, value: float, remark: str, error: float | None = None) -> Outcome:
    """A measured number against the paper's: it follows inside the claim and its slack."""
    near = abs(claim.distance(value)) <= claim.slack
    return Outcome(claim, FOLLOWS if near else DIFFERS, (value,), error, remark)


def judge_difference(claim: Claim, differences: Collection[float], remark: str) -> Outcome:
    """Differences, one a run, against a claim that they are above (``low``) or below 0 (``high``).

    It follows if their mean is more than two standard errors on the claimed side, does not if it
    is as far on the other side or no run differs, and cannot be judged in between or with less
    than two runs.
    """
    if not differences:
        return unjudged(claim, f"nothing was measured: {remark}")
    mean = Mean.of(differences)
    sign = -1 if claim.low is None else 1
    as_claimed = sum(sign * each > 0 for each in differences)
    remark = f"{remark} ({mean.runs} runs, {as_claimed} as claimed)"
    if mean.runs < 2:
        return unjudged(claim, f"{remark}; one run has no error", mean.value)
    away = sign * mean.value
    verdict: Verdict = UNJUDGED
    if away > ERRORS * mean.error:
        verdict = FOLLOWS
    elif away < -ERRORS * mean.error or not any(differences):
        verdict = DIFFERS
    else:
        remark += f"; within {ERRORS:g} standard errors of 0"
    return Outcome(claim, verdict, (mean.value,), mean.error, remark)


def unjudged(claim: Claim, why: str, *measured: float) -> Outcome:
    """No verdict, and why; with what was measured, if anything."""
    return Outcome(claim, UNJUDGED, measured, None, why)
