"""The engine against the native timeloop-model on fresh random specs, where it is installed."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from sparseloop_draws import draw
from sparseloop_stats import differences, expected_of

from crisp_loop.core.spec import load_spec
from crisp_loop.sparseloop import IllegalMappingError, evaluate

TIMELOOP = shutil.which("timeloop-model")
needs_timeloop = [
    pytest.mark.timeloop,
    pytest.mark.skipif(TIMELOOP is None, reason="timeloop-model is not on PATH"),
]
pytestmark = needs_timeloop


@pytest.mark.parametrize("seed", range(10_000, 10_040))
def test_fresh_draw_agrees(seed: int, tmp_path: Path) -> None:
    assert TIMELOOP is not None
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(draw(random.Random(seed)), sort_keys=False), encoding="utf-8")
    done = subprocess.run(
        [TIMELOOP, str(path)], cwd=tmp_path, capture_output=True, timeout=120, check=False
    )
    stats = tmp_path / "timeloop-model.stats.txt"
    try:
        found, refusal = evaluate(load_spec(path)), ""
    except IllegalMappingError as error:
        found, refusal = None, str(error)
    if found is None:
        # Timeloop counts no cycles when less than one compute unit is in use.
        assert not stats.exists() or "less than one unit" in refusal
        return
    assert stats.exists(), done.stdout.decode() + done.stderr.decode()
    assert differences(found, expected_of(stats.read_text(encoding="utf-8"))) == []
