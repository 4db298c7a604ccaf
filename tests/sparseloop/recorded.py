"""Golden draws in one compact file: random specs with timeloop-model's figures.

``draws.jsonl.gz`` holds a case a line, ``draws.txt`` one readable line for each of them, so that a
diff shows what changed. A case's name is the hash of its spec.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparseloop_stats import Expected

from crisp_loop.core.spec import Spec

CASES, INDEX = "draws.jsonl.gz", "draws.txt"


@dataclass(frozen=True)
class Case:
    """A spec and what timeloop-model says of it."""

    kind: str
    """The kind of draw."""
    sections: dict[str, Any]
    figures: Expected | None
    """None where timeloop-model refuses the spec."""

    @property
    def name(self) -> str:
        """Kind, and a hash of the spec."""
        text = json.dumps(self.sections, sort_keys=True)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    @property
    def spec(self) -> Spec:
        """For the engine."""
        return Spec(self.name, self.sections)

    def line(self) -> str:
        """What a person wants to know of it."""
        if self.figures is None:
            return f"{self.name} refused"
        return f"{self.name} cycles {self.figures['cycles']} uJ {self.figures['energy_uJ']:.6g}"


def record(directory: Path, cases: Iterable[Case]) -> None:
    """Write the cases, sorted by name; equal cases make equal bytes wherever zlib is the same."""
    ordered = sorted({each.name: each for each in cases}.items())
    lines = [json.dumps(vars(case), separators=(",", ":")) + "\n" for _, case in ordered]
    packed = gzip.compress("".join(lines).encode(), compresslevel=9, mtime=0)
    (directory / CASES).write_bytes(packed)
    index = "".join(f"{case.line()}\n" for _, case in ordered)
    (directory / INDEX).write_text(index, encoding="utf-8")


def recorded(directory: Path) -> list[Case]:
    """The cases of a directory."""
    with gzip.open(directory / CASES, "rt", encoding="utf-8") as file:
        return [Case(**json.loads(line)) for line in file]
