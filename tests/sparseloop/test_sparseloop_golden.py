"""The engine against timeloop-model: the 25 golden specs and the recorded draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded import INDEX, Case, recorded
from sparseloop_draws import KINDS
from sparseloop_stats import differences, expected_of

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.spec import load_spec
from crisp_loop.sparseloop import IllegalMappingError, evaluate

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))
DRAWS = recorded(GOLDEN)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "error" not in case])
def test_golden_case_agrees_in_every_count(name: str) -> None:
    found = evaluate(load_spec(GOLDEN / name / "spec.yaml"))
    stats = (GOLDEN / name / "timeloop-model.stats.txt").read_text(encoding="utf-8")
    assert differences(found, expected_of(stats)) == []
    assert found.cycles == CASES[name]["cycles"]
    assert found.energy_uJ == pytest.approx(CASES[name]["energy_uJ"], rel=1e-4)
    assert 100 * found.utilization == pytest.approx(CASES[name]["utilization_percent"], abs=0.0051)
    levels = {level.name: level.energy_pJ * 1e-6 for level in found.levels}
    levels[found.compute.name] = found.compute.energy_pJ * 1e-6
    assert levels == pytest.approx(CASES[name]["energy_uJ_by_level"], rel=1e-3)


def test_golden_capacity_error_names_level_needed_and_available_words() -> None:
    (name,) = [name for name, case in CASES.items() if "error" in case]
    with pytest.raises(IllegalMappingError) as refusal:
        evaluate(load_spec(GOLDEN / name / "spec.yaml"))
    for part in ("SMEM", "313344 words", "262144"):
        assert part in str(refusal.value)


@pytest.mark.parametrize("case", DRAWS, ids=lambda case: case.name)
def test_recorded_draw_agrees_in_every_count(case: Case) -> None:
    if case.figures is None:
        with pytest.raises(CrispLoopError):
            evaluate(case.spec)
    else:
        assert differences(evaluate(case.spec), case.figures) == []


def test_draws_cover_all_designs_and_refusals() -> None:
    texts = [json.dumps(case.sections) for case in DRAWS]
    refused = sum(case.figures is None for case in DRAWS)
    assert len(DRAWS) >= 320
    assert 20 <= refused <= 80
    for part in (
        *('"skipping"', '"skipping_spatial"', '"format": "B"', '"format": "CP"', "hypergeometric"),
        *("0.25", "0.5", "0.75", '"EXTRA"', '"keep": []', '"compute_optimization"'),
    ):
        assert sum(part in text for text in texts) >= 5, part
    assert sum("sparse_optimizations" not in text for text in texts) >= 30
    for kind in KINDS:
        assert sum(case.kind == kind for case in DRAWS) >= 60


def test_the_index_is_that_of_the_cases() -> None:
    index = (GOLDEN / INDEX).read_text(encoding="utf-8").splitlines()
    assert index == [case.line() for case in DRAWS]
    assert len({case.name for case in DRAWS}) == len(DRAWS)
