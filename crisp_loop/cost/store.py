"""Results of timeloop-model, kept by content, so that no call is made twice.

A file a result, named by the hash of the tool's version and the spec. It is what the tool wrote,
unchanged: a better parser reads it again. Files appear whole or not at all, so any number of
processes may share a store, and a run that was killed goes on where it was.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import sha256, write_text

VARIABLE = "CRISP_LOOP_CACHE"
"""The environment variable that names another place."""


@dataclass(frozen=True)
class ResultStore:
    """A directory of results."""

    root: Path

    def recall(self, version: str, spec: str) -> str | None:
        """The statistics that the tool of this version wrote for this spec; None if unknown.

        Args:
            version: What tells the tool from others.
            spec: The whole input, as text.
        """
        with suppress(OSError, UnicodeDecodeError):
            return self._file(version, spec).read_text(encoding="utf-8")
        return None

    def keep(self, version: str, spec: str, stats: str) -> None:
        """Remember a result. A store that cannot be written costs time later, but no result."""
        with suppress(OSError, CrispLoopError):
            write_text(self._file(version, spec), stats)

    def _file(self, version: str, spec: str) -> Path:
        key = sha256(f"{version}\0{spec}")
        return self.root / key[:2] / f"{key}.stats.txt"


def user_store() -> ResultStore:
    """The user's store: ``CRISP_LOOP_CACHE``, else the system's place for caches."""
    place = os.environ.get(VARIABLE)
    return ResultStore(Path(place) if place else user_cache_path("crisp_loop") / "results")
