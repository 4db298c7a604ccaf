"""Recorded answers of Accelergy, and a stand-in that gives them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

RECORDED = Path(__file__).parents[1] / "golden/accelergy"
"""Directories with the ERT, ART and summary that Accelergy 0.4 wrote."""


@pytest.fixture
def no_accelergy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH without Accelergy."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def fake_accelergy(tmp_path: Path, program: Callable[[str, str], Path]) -> Callable[[str], Path]:
    """Put an ``accelergy`` with the given Python body on PATH, in a place with spaces.

    The body sees ``out`` (its output directory, not there yet), ``answer(folder)``, which writes a
    recorded answer with texts replaced, and ``calls``, a file with a line a call.
    """

    def make(body: str) -> Path:
        calls = tmp_path / "calls"
        program(
            "accelergy",
            "import sys\n"
            "from pathlib import Path\n"
            f"calls = Path({str(calls)!r})\n"
            "calls.write_text((calls.read_text() if calls.exists() else '') + 'call\\n')\n"
            "out = Path(sys.argv[sys.argv.index('-o') + 1]) if '-o' in sys.argv else None\n"
            "def answer(folder, **texts):\n"
            "    out.mkdir()\n"
            f"    for file in (Path({str(RECORDED)!r}) / folder).iterdir():\n"
            "        text = file.read_text()\n"
            "        for old, new in texts.items():\n"
            "            text = text.replace(old, new)\n"
            "        (out / file.name).write_text(text)\n" + body,
        )
        return calls

    return make
