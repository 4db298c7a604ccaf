"""Small sweeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crisp_loop.sweep import Sweep

SMALL: dict[str, Any] = {
    "experiment": {"network": "digits-resnet", "masks": "draw", "engine": "analytic"},
    "grid": {
        "nm": ["1:4", "2:4"],
        "sparsity": [0.8, 0.9],
        "accelerator": ["dense", "crisp-stc"],
        "arch": {"DRAM.read_bandwidth": [8, 32]},
    },
    "mappings": "keep",
}
"""16 points, a second's work once the mappings are known."""


@pytest.fixture
def small() -> Callable[..., Sweep]:
    """The small sweep, with some keys changed."""

    def make(**changes: Any) -> Sweep:
        return Sweep.model_validate({**SMALL, **changes})

    return make


@pytest.fixture(scope="session")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that knows the mappings of the small sweep already."""
    return tmp_path_factory.mktemp("mapped")


@pytest.fixture
def store(mapped: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use the store that knows them."""
    monkeypatch.setenv("CRISP_LOOP_CACHE", str(mapped))
    return mapped
