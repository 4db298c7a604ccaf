"""The engine against the native timeloop-model on fresh random specs, where it is installed."""

from __future__ import annotations

import shutil

import pytest
from differential import Verdict, judge
from sparseloop_draws import KINDS

TIMELOOP = shutil.which("timeloop-model")
pytestmark = [
    pytest.mark.timeloop,
    pytest.mark.skipif(TIMELOOP is None, reason="timeloop-model is not on PATH"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(10_000, 10_030))
def test_fresh_draw_agrees(kind: str, seed: int) -> None:
    assert TIMELOOP is not None
    judged = judge(TIMELOOP, kind, seed)
    assert judged.verdict not in (Verdict.DIFFER, Verdict.TIMELOOP_REFUSES), judged.reasons
