"""The comparison with timeloop-model is not vacuous: planted errors, small ones too, are caught."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from recorded import recorded
from sparseloop_stats import differences

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sparseloop import compute, evaluate, formats, microarchitecture, saf
from crisp_loop.sparseloop.busy import BusyLoops
from crisp_loop.sparseloop.density import FixedStructured

GOLDEN = Path(__file__).parents[1] / "golden"
AGREEING = [case for case in recorded(GOLDEN) if case.figures is not None]
ELSEWHERE = {"energy_pJ of a level", "utilization", "gated", "instances"}
"""Sums and shares of figures that are compared; the golden cases hold these."""


def caught(enough: int) -> int:
    """How many of the recorded cases see an error; counting stops when there are enough."""
    count = 0
    for case in AGREEING:
        assert case.figures is not None
        try:
            count += bool(differences(evaluate(case.spec), case.figures))
        except CrispLoopError:
            count += 1
        if count == enough:
            break
    return count


def no_reuse(self: BusyLoops, dims: frozenset[str], end: int) -> Any:
    """A tile that is fetched anew in every iteration above it."""
    return math.prod(factor for at, loop, factor in self.loops if at >= end and not loop.spatial)


def no_multicast(self: BusyLoops, dims: frozenset[str]) -> list[Any]:
    """Every instance is sent its own copy."""
    return [
        math.prod(factor for _, loop, factor in self.loops if loop.level == level and loop.spatial)
        for level in range(len(self._nest.ends))
    ]


def one_more(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **more: function(*args, **more) + 1


def a_thousandth_more(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **more: function(*args, **more) * 1.001


MUTATIONS: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "no temporal reuse": (BusyLoops, "visits", no_reuse),
    "no multicast": (BusyLoops, "scattered", no_multicast),
    "one tile more": (BusyLoops, "visits", one_more(BusyLoops.visits)),
    "one word more at most": (FixedStructured, "most", one_more(FixedStructured.most)),
    "unrounded operand densities": (compute, "_to_millionths", lambda values: values),
    "a bit more of metadata": (formats.Fibertree, "bits", one_more(formats.Fibertree.bits)),
    "vector accesses of full blocks": (
        *(microarchitecture, "_block_filling"),
        lambda *args: 1.0,
    ),
    "0.1 % more energy": (
        *(microarchitecture, "_energy"),
        a_thousandth_more(microarchitecture._energy),
    ),
    "a condition's tiles of one visit": (saf, "_resident", lambda *args: 1),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_error_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*MUTATIONS[name])
    assert caught(enough=2) == 2


def test_without_an_error_nothing_is_caught() -> None:
    assert caught(enough=1) == 0


def bumped(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """``value`` with each of its numbers 1 larger, one at a time, and that number's path."""
    if isinstance(value, bool | str) or value is None:
        return
    if isinstance(value, int | float):
        yield path, value + 1
    elif isinstance(value, dict):
        for key, inner in value.items():
            for where, other in bumped(inner, f"{path}.{key}"):
                yield where, {**value, key: other}
    elif isinstance(value, tuple):
        for at, inner in enumerate(value):
            for where, other in bumped(inner, f"{path}[{at}]"):
                yield where, (*value[:at], other, *value[at + 1 :])
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            for where, other in bumped(getattr(value, each.name), f"{path}.{each.name}"):
                yield where, replace(value, **{each.name: other})


@pytest.mark.parametrize("form", ["offsets", "bitmap"])
def test_every_figure_of_an_answer_is_compared(form: str) -> None:
    part = "'format': 'B'" if form == "bitmap" else "'format': 'CP'"
    case = next(each for each in AGREEING if each.kind == "rendered" and part in str(each))
    assert case.figures is not None
    found = evaluate(case.spec)
    missed = set()
    for path, wrong in bumped(found, ""):
        if not differences(wrong, case.figures):
            last = path.rsplit(".", 1)[-1]
            in_level = last == "energy_pJ" and path.count(".") == 2 and "levels" in path
            missed.add("energy_pJ of a level" if in_level else last)
    assert missed <= ELSEWHERE
