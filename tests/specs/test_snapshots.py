"""The rendered text, letter by letter. After a change that is meant, run this file to pin it anew:

python tests/specs/test_snapshots.py
"""

from math import gcd
from pathlib import Path

import numpy as np
import pytest

from crisp_loop.accelerators import available, load_accelerator, problem_for
from crisp_loop.core.gemm import Gemm, dense
from crisp_loop.core.loops import LoopNest
from crisp_loop.core.masks import sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw
from crisp_loop.render import render_spec

SNAPSHOTS = Path(__file__).parents[1] / "golden/text"
ROWS, COLUMNS = 64, 576


def weights(pattern: str, block: int, sparsity: float) -> Gemm:
    nm = NM.parse(pattern)
    mask = Draw(nm, block, sparsity).mask(ROWS, COLUMNS, np.random.default_rng(0))
    return Gemm("layer", 1, ROWS, COLUMNS, 196, sparsity_of(mask, nm, block), 0.6)


GEMMS = {
    "hybrid-2of4-b32": weights("2:4", 32, 0.8),
    "nm-1of4": weights("1:4", 16, 0.75),
    "attention": Gemm("attention", 6, 65, 64, 65, dense(6 * 65 * 64)),
}


def nest(design: str, gemm: Gemm) -> LoopNest:
    """A mapping for the text alone: limited slots take what divides, the others the rest.

    No shipped mapping, so that tuning changes no snapshot.
    """
    accelerator = load_accelerator(design)
    left = dict(problem_for(accelerator, gemm).bounds)
    lines: list[str] = []
    for slot in reversed(accelerator.dataflow):
        room = slot.total or 2**20
        taken = []
        for dim, limit in slot.dims.items():
            factor = gcd(left[dim], min(limit, room)) if limit else left[dim]
            left[dim] //= factor
            room //= factor
            taken.append(f"{dim}{factor}")
        lines.insert(0, f"{slot.level} {slot.kind} {' '.join(taken)} order {slot.orders[0]}")
    return LoopNest.parse(lines)


def text(design: str, name: str) -> str:
    """The section files of a spec, one below the other."""
    accelerator, gemm = load_accelerator(design), GEMMS[name]
    files = render_spec(accelerator, problem_for(accelerator, gemm), nest(design, gemm))
    return "".join(f"# {file}\n{content}" for file, content in files.items())


@pytest.mark.parametrize("name", GEMMS)
@pytest.mark.parametrize("design", available())
def test_the_text_is_the_pinned_one(design: str, name: str) -> None:
    assert text(design, name) == (SNAPSHOTS / f"{design}-{name}.txt").read_text(encoding="utf-8")


def test_no_snapshot_is_left_over() -> None:
    names = {f"{design}-{name}" for design in available() for name in GEMMS}
    assert {path.stem for path in SNAPSHOTS.iterdir()} == names


if __name__ == "__main__":
    SNAPSHOTS.mkdir(exist_ok=True)
    for design in available():
        for name in GEMMS:
            path = SNAPSHOTS / f"{design}-{name}.txt"
            path.write_text(text(design, name), encoding="utf-8")
