"""What holds for every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of results for this test alone, so that none answers from an earlier run."""
    place = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("CRISP_LOOP_CACHE", str(place))
    return place


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a program of that name and with that Python text on PATH, in a place with spaces."""

    def make(name: str, text: str) -> Path:
        folder = tmp_path / "a tool's place"
        folder.mkdir(exist_ok=True)
        tool = folder / name
        tool.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return tool

    return make
