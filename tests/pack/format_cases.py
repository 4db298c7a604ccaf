"""Masks and weights that the tests of formats share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from crisp_loop.core.pattern import NM

Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

NM_PATTERNS = [NM(1, 4), NM(2, 4), NM(3, 4), NM(4, 4), NM(2, 8), NM(1, 2), NM(1, 1)]


def strange_weights(
    rng: np.random.Generator, shape: tuple[int, int], dtype: type = np.float32
) -> npt.NDArray[np.generic]:
    """Random bit patterns: NaNs with payloads, infinities, -0.0 and subnormals among them."""
    size = np.dtype(dtype).itemsize
    words = rng.integers(0, 256, (*shape, size), dtype=np.uint8)
    words[rng.random(shape) < 0.1] = [0] * (size - 1) + [0x80]
    return words.view(dtype)[..., 0]


def masked(mask: Mask, weights: npt.NDArray[np.generic]) -> bytes:
    """The bytes that every decoder must give back."""
    return np.where(mask, weights, weights.dtype.type(0)).tobytes()


def hybrid_mask(
    rng: np.random.Generator,
    shape: tuple[int, int],
    nm: NM,
    block: int,
    kept: int,
    full: bool = True,
) -> Mask:
    """N of M (fewer, by chance, if not ``full``) in ``kept`` blocks of every block-row.

    No kept block is empty; blocks are those of the matrix padded to whole ones.
    """
    order = rng.random((shape[0], shape[1] // nm.m, nm.m)).argsort(axis=2).argsort(axis=2)
    count = nm.n if full else rng.integers(0, nm.n + 1, (shape[0], shape[1] // nm.m, 1))
    mask = (order < count).reshape(shape)
    grid = (-(-shape[0] // block), -(-shape[1] // block))
    alive = rng.random(grid).argsort(axis=1).argsort(axis=1) < kept
    for r, c in np.argwhere(alive):
        tile = mask[r * block : (r + 1) * block, c * block : (c + 1) * block]
        if not tile.any():
            tile[0, 0] = True
    return mask & alive.repeat(block, axis=0).repeat(block, axis=1)[: shape[0], : shape[1]]


@st.composite
def hybrid_cases(draw: st.DrawFn) -> tuple[Mask, Matrix, NM, int]:
    """(mask, weights, N:M, B), padded shapes among them; both C-contiguous."""
    nm = draw(st.sampled_from(NM_PATTERNS))
    block = draw(st.sampled_from([8, 16, 32]))
    shape = (draw(st.integers(1, 70)), nm.m * draw(st.integers(1, 20)))
    kept = draw(st.integers(0, -(-shape[1] // block)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = hybrid_mask(rng, shape, nm, block, kept, draw(st.booleans()))
    return mask, strange_weights(rng, shape), nm, block  # type: ignore[return-value]


@st.composite
def any_cases(draw: st.DrawFn) -> tuple[Mask, Matrix]:
    """(mask, weights) without a pattern, from empty to full."""
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 70)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]))
    return rng.random(shape) < density, strange_weights(rng, shape)  # type: ignore[return-value]
