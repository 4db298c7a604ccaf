"""Both engines against recorded answers of timeloop-model to specs that this project renders."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.progress import Quiet
from crisp_loop.core.spec import load_spec
from crisp_loop.cost.engine import ENGINES, EngineOptions

CASES = sorted((Path(__file__).parents[1] / "golden/rendered").glob("*.yaml"))
ROUNDED = ("energy_uJ", "energy_pJ", "utilization", "utilized_instances", "throttling", "instances")
"""Figures that timeloop-model prints with few decimals."""


def test_the_slice_covers_all_designs() -> None:
    names = " ".join(case.stem for case in CASES)
    assert len(CASES) >= 50
    for part in (
        "-dense-",
        "-nvidia-stc-",
        "-dstc-",
        "-crisp-stc-",
        "-s2ta-",
        "digits",
        "vgg16",
        "mobilenet",
    ):
        assert part in names


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
@pytest.mark.parametrize(
    "engine",
    [
        "analytic",
        pytest.param(
            "timeloop",
            marks=[
                pytest.mark.timeloop,
                pytest.mark.skipif(not shutil.which("timeloop-model"), reason="no timeloop-model"),
            ],
        ),
    ],
)
def test_every_figure_is_the_recorded_one(engine: str, case: Path) -> None:
    (said,) = ENGINES[engine](EngineOptions()).evaluate([load_spec(case)], Quiet())
    recorded = json.loads(case.with_suffix(".json").read_text())
    _agree(TypeAdapter(Evaluation).dump_python(said, mode="json"), recorded, "")


def _agree(said: object, recorded: object, path: str) -> None:
    if isinstance(recorded, dict):
        assert isinstance(said, dict)
        for key, value in recorded.items():
            if key not in ("spec", "engine", "engine_version"):
                _agree(said[key], value, f"{path}.{key}")
    elif isinstance(recorded, list):
        assert isinstance(said, list)
        assert len(said) == len(recorded), path
        for i, value in enumerate(recorded):
            _agree(said[i], value, f"{path}.{i}")
    elif path.rsplit(".", 1)[-1] in ROUNDED:
        assert said == pytest.approx(recorded, rel=1e-3, abs=0.01), path
    else:
        assert said == recorded, path
