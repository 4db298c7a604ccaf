"""What holds for every test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of results for this test alone, so that none answers from an earlier run."""
    place = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("CRISP_LOOP_CACHE", str(place))
    return place
