"""Random specs for comparing the engine with timeloop-model: one drawing, two sources."""

from __future__ import annotations

import random
from typing import Any

from rendered_draws import draw_rendered
from structural_draws import draw_structure

KINDS = {"structure": draw_structure, "rendered": draw_rendered}
"""What a draw is made of: sections written for the purpose, or the project's templates."""


def draw(kind: str, seed: int) -> dict[str, Any]:
    """The sections of draw number ``seed``; the same for ever, until the drawing changes."""
    return KINDS[kind](random.Random(f"{kind} {seed}" if kind != "structure" else seed))
