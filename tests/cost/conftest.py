"""Stand-ins for the native tool."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def fake_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a ``timeloop-model`` with the given Python body on PATH, in a place with spaces.

    The body sees ``out`` (the output directory) and ``source`` (the input file).
    """

    def make(body: str) -> Path:
        folder = tmp_path / "a tool's place"
        folder.mkdir()
        tool = folder / "timeloop-model"
        tool.write_text(
            f"#!{sys.executable}\n"
            "import os, sys, time, signal, subprocess\n"
            "from pathlib import Path\n"
            "out = Path(sys.argv[sys.argv.index('-o') + 1]); source = Path(sys.argv[-1])\n" + body,
            encoding="utf-8",
        )
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return tool

    return make
