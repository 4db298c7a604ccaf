"""Stand-ins for the native tool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def fake_tool(program: Callable[[str, str], Path]) -> Callable[[str], Path]:
    """Put a ``timeloop-model`` with the given Python body on PATH, in a place with spaces.

    The body sees ``out`` (the output directory) and ``source`` (the input file).
    """

    def make(body: str) -> Path:
        return program(
            "timeloop-model",
            "import os, sys, time, signal, subprocess\n"
            "from pathlib import Path\n"
            "out = Path(sys.argv[sys.argv.index('-o') + 1]); source = Path(sys.argv[-1])\n" + body,
        )

    return make
