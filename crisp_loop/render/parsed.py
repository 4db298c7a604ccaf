"""A rendered spec as data, for engines that run in this process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.files import parse_yaml
from crisp_loop.core.loops import LoopNest
from crisp_loop.core.spec import Spec
from crisp_loop.render.spec import SECTIONS, render_spec


def spec_of(
    accelerator: Accelerator,
    problem: Problem,
    nest: LoopNest,
    source: str = "",
    sections: Sequence[str] = SECTIONS,
) -> Spec:
    """What an engine would read from the files of :func:`render_spec`.

    Args:
        accelerator: The design.
        problem: The GEMM as the design runs it; N grows to what the mapping computes.
        nest: Its mapping.
        source: What messages call it; the design's name and the problem's key unless given.
        sections: Which sections it holds.
    """
    padded = problem.padded(nest.bound("N"))
    data: dict[str, Any] = {}
    for file, text in render_spec(accelerator, padded, nest, sections).items():
        data |= _parsed(text, file)
    gathers = (problem.gather,) if problem.gather is not None else ()
    return Spec(source or f"{accelerator.name}: {problem.key}", data, gathers=gathers)


@lru_cache(maxsize=64)
def _parsed(text: str, file: str) -> dict[str, Any]:
    """A section as data. Most sections of one design and GEMM are the same text."""
    return parse_yaml(text, file)
