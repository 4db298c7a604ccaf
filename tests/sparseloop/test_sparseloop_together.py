"""Many specs at once are the same specs one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import recorded
from test_sparseloop_batch import SPECS, resplit, with_factors

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.spec import Spec, load_spec
from crisp_loop.sparseloop import IllegalMappingError, evaluate, evaluate_specs, model

GOLDEN = Path(__file__).parents[1] / "golden"
RENDERED = [load_spec(path) for path in sorted((GOLDEN / "rendered").glob("*.yaml"))]


def variants(count: int) -> list[Spec]:
    """Golden specs with their factors dealt out anew, some of them illegal, in mixed order."""
    rng = np.random.default_rng(7)
    specs = [
        replace(with_factors(spec, resplit(spec, rng)), source=f"{name} {number}")
        for name, spec in SPECS.items()
        for number in range(count if "hyper" not in name else 2)
    ]
    return [specs[at] for at in rng.permutation(len(specs))]


def legal(spec: Spec) -> bool:
    try:
        evaluate(spec)
    except CrispLoopError:
        return False
    return True


def test_rendered_specs_are_the_same_together() -> None:
    assert list(evaluate_specs(RENDERED)) == [evaluate(spec) for spec in RENDERED]


def test_mixed_specs_are_the_same_together(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = variants(12)
    sound = [spec for spec in specs if legal(spec)]
    assert 10 < len(sound) < len(specs)
    sizes = []
    analyse = model._analyse
    monkeypatch.setattr(
        model, "_analyse", lambda design, factors, legality: (
            sizes.append(np.broadcast(*factors).size), analyse(design, factors, legality)
        )[1],
    )  # fmt: skip
    found = list(evaluate_specs(sound))
    assert max(sizes) > 5, "specs that are alike are analysed together"
    assert len(sizes) < len(sound)
    monkeypatch.undo()
    assert found == [evaluate(spec) for spec in sound]


def test_the_first_refused_spec_is_told_in_its_turn() -> None:
    specs = variants(12)
    first = next(at for at, spec in enumerate(specs) if not legal(spec))
    with pytest.raises(CrispLoopError) as alone:
        evaluate(specs[first])
    told = evaluate_specs(specs)
    for spec in specs[:first]:
        assert next(told) == evaluate(spec)
    with pytest.raises(type(alone.value)) as together:
        next(told)
    assert str(together.value) == str(alone.value)
    assert str(together.value).startswith(specs[first].source)


def test_recorded_draws_are_the_same_together() -> None:
    specs = [case.spec for case in recorded(GOLDEN)][::4]
    sound = [spec for spec in specs if legal(spec)]
    assert list(evaluate_specs(sound)) == [evaluate(spec) for spec in sound]


def test_nothing_is_asked_of_nobody() -> None:
    assert list(evaluate_specs([])) == []
    with pytest.raises(IllegalMappingError):
        list(evaluate_specs([load_spec(GOLDEN / "crisp14-b16-conv4-3x3" / "spec.yaml")]))
