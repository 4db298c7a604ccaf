"""The programs of Timeloop on this machine."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError

MODEL = "timeloop-model"
"""Prices one mapping."""
MAPPER = "timeloop-mapper"
"""Searches for a mapping."""

_HARMLESS_VARIABLES = ("TIMELOOP_DIR", "TIMELOOP_PROBLEM_SHAPE_DIR", "TIMELOOP_PROBLEM_SHAPE_DIRS")


def find_program(name: str) -> Path:
    """Where the program called ``name`` is.

    Raises:
        CrispLoopError: it is not on PATH.
    """
    found = shutil.which(name)
    if found is None:
        raise CrispLoopError(f"{name} is not on PATH; see docs/engines.md.")
    return Path(found).absolute()


def call_environment(binary: Path, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """``base`` as the program should see it.

    Timeloop takes switches that change its figures from the environment; they are left out. What
    the program itself starts is looked for beside it first.
    """
    kept = {
        name: value
        for name, value in base.items()
        if not name.startswith("TIMELOOP_") or name in _HARMLESS_VARIABLES
    }
    return kept | {"PATH": f"{binary.parent}{os.pathsep}{base.get('PATH', '')}"}


def fingerprint(binary: Path) -> str:
    """Twelve hex digits of the SHA-256 of the program file."""
    try:
        status = binary.stat()
        return _fingerprint(binary.resolve(), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise CrispLoopError(f"{binary} cannot be read: {error.strerror or error}.") from None


@functools.lru_cache(maxsize=8)
def _fingerprint(binary: Path, size: int, mtime_ns: int) -> str:
    """Cached by what changes when the file is built again."""
    digest = hashlib.sha256()
    with binary.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:12]
