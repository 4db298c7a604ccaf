"""Small sweeps whose mappings are known."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store for mappings that all tests share, as searching them takes most of the time."""
    return tmp_path_factory.mktemp("mapped")


@pytest.fixture
def store(mapped: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use the shared store."""
    monkeypatch.setenv("CRISP_LOOP_CACHE", str(mapped))
    return mapped
