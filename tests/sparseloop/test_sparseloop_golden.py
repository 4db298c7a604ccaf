"""The engine against timeloop-model: the 25 golden specs and the recorded draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sparseloop_stats import differences, expected_of

from crisp_loop.core.spec import load_spec
from crisp_loop.sparseloop import IllegalMappingError, evaluate

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))
DRAWS = sorted((GOLDEN / "draws").glob("*.json"))


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


@pytest.mark.parametrize("path", DRAWS, ids=lambda path: path.stem)
def test_recorded_draw_agrees_in_every_count(path: Path) -> None:
    spec = load_spec(path.with_suffix(".yaml"))
    expected = json.loads(path.read_text(encoding="utf-8"))
    if "error" in expected:
        with pytest.raises(IllegalMappingError):
            evaluate(spec)
    else:
        assert differences(evaluate(spec), expected) == []


def test_draws_cover_all_designs_and_refusals() -> None:
    texts = [path.with_suffix(".yaml").read_text(encoding="utf-8") for path in DRAWS]
    refused = sum("error" in json.loads(path.read_text(encoding="utf-8")) for path in DRAWS)
    assert len(DRAWS) >= 60
    assert refused >= 5
    for part in ("skipping_spatial", "format: B", "hypergeometric", "density: 0.25"):
        assert sum(part in text for text in texts) >= 5
    assert sum("sparse_optimizations" not in text for text in texts) >= 5
