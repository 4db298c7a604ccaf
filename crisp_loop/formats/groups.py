"""N:M groups in kept blocks, to values and packed offsets and back.

Two paths that agree bit by bit: compiled kernels for M up to 8 and weights of 1, 2, 4 or 8 bytes,
numpy for everything else. Blocks are ``height`` x ``width``, so that N:M without blocks is one
block of 1 x K in every row. Where the last blocks reach beyond the matrix, +0 is stored.
"""

from __future__ import annotations

import numpy as np

from crisp_loop.core.pattern import NM
from crisp_loop.formats import kernels
from crisp_loop.formats.base import Array, BoolArray, Bytes, Places
from crisp_loop.formats.bits import check_size, pack_bits, packed_size, unpack_bits, width_for

_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
"""Unsigned words by their bytes, which stand for weights of any type."""


def offset_width(nm: NM) -> int:
    """Bits of one offset: ceil(log2 M), and none where N = M leaves nothing to say."""
    return 0 if nm.n == nm.m else width_for(nm.m)


def block_grid(mask: BoolArray, block: int) -> BoolArray:
    """Which B x B blocks of a mask keep anything, ceil(S/B) x ceil(K/B).

    As :func:`crisp_loop.core.masks.kept_blocks`, in one reading of the mask.
    """
    rows, columns = mask.shape
    kept = np.zeros((-(-rows // block), -(-columns // block)), dtype=np.uint8)
    flat = np.ascontiguousarray(mask).view(np.uint8)
    wide = 8 if block % 8 == 0 and columns % 8 == 0 and flat.ctypes.data % 8 == 0 else 1
    kernels.scan(flat.view(_WORDS[wide]), block, block // wide, kept)
    return kept.view(np.bool_)


def pack_groups(
    mask: BoolArray, weights: Array, indices: Places, block: tuple[int, int], nm: NM
) -> tuple[Array, Bytes]:
    """The values of kept blocks and their packed offsets.

    Groups with fewer than N weights borrow their first masked places, holding +0.

    Args:
        mask: S x K, True where kept; M divides K.
        weights: S x K, any dtype.
        indices: int (R, K'/B), columns of the kept blocks.
        block: Height and width of a block; M divides the width.
        nm: The pattern.

    Returns:
        Values in the weights' dtype, [R, height, K'/M, N], and offsets as a stream of bytes.

    Raises:
        ValueError: a group that keeps more than N.
    """
    height, width = block
    block_rows, kept = indices.shape
    shape = (block_rows, height, kept * width // nm.m, nm.n)
    if not _compiled(nm, weights):
        return _pack_numpy(mask, weights, indices, block, nm)
    values = np.empty(shape, dtype=weights.dtype)
    word = offset_width(nm)
    offsets = np.empty(packed_size(values.size, word), dtype=np.uint8)
    flat = np.ascontiguousarray(mask).view(np.uint8)
    # A view of four places needs them aligned, which slices of a larger array may not be.
    if nm.m == 4 and flat.ctypes.data % 4:
        flat = flat.copy()
    fours = flat.view(np.uint32) if nm.m == 4 else np.zeros((1, 1), dtype=np.uint32)
    word_type = _WORDS[weights.dtype.itemsize]
    words = np.ascontiguousarray(weights).view(word_type)
    columns = indices.astype(np.int64, copy=False)
    stored = values.reshape(-1).view(word_type)
    if _whole_24(mask.shape, block, nm):
        bad = kernels.gather_24(fours, words, columns, height, width, stored, offsets)
    else:
        tables = kernels.gather_tables(nm.n, nm.m)
        pattern = (nm.n, nm.m, word)
        bad = kernels.gather(
            flat, fours, words, columns, height, width, *pattern, *tables, stored, offsets
        )
    if bad >= 0:
        row, column = divmod(bad, mask.shape[1])
        group = mask[row, column : column + width].reshape(-1, nm.m).sum(axis=1)
        raise ValueError(_too_many(int(group[group > nm.n][0]), nm))
    return values, offsets


def unpack_groups(
    values: Array,
    offsets: Bytes,
    indices: Places,
    block: tuple[int, int],
    nm: NM,
    shape: tuple[int, int],
    out: Array | None = None,
) -> Array:
    """The whole S x K matrix: undoes :func:`pack_groups`.

    Args:
        values: [R, height, K'/M, N] or any shape of as many.
        offsets: Their places, packed.
        indices: int (R, K'/B), ascending and inside the grid.
        block: Height and width of a block.
        nm: The pattern.
        shape: (S, K).
        out: Where to write it; a new array if None.

    Raises:
        ValueError: offsets that do not fit, values beyond the shape that are not +0, or an
            ``out`` of another shape, type or layout.
    """
    word = offset_width(nm)
    check_offsets(values, offsets, nm)
    if values.size * word % 8 and offsets[-1] >> values.size * word % 8:
        raise ValueError("bits are set beyond the last offset")
    matrix = np.empty(shape, dtype=values.dtype) if out is None else out
    if matrix.shape != shape or matrix.dtype != values.dtype or not matrix.flags.c_contiguous:
        raise ValueError(f"expected a C-contiguous {values.dtype} array shaped {shape}")
    if not _compiled(nm, values):
        matrix[...] = _unpack_numpy(values, offsets, indices, block, nm, shape)
        return matrix
    word_type = _WORDS[values.dtype.itemsize]
    words = np.ascontiguousarray(values).reshape(-1).view(word_type)
    packed = np.ascontiguousarray(offsets)
    columns = indices.astype(np.int64, copy=False)
    target = matrix.view(word_type)
    if _whole_24(shape, block, nm):
        wrong = kernels.scatter_24(words, packed, columns, *block, target)
    else:
        wrong = kernels.scatter(words, packed, columns, *block, nm.n, nm.m, word, target)
    if wrong == kernels.BAD_OFFSETS:
        raise ValueError(_bad_offsets(nm))
    if wrong == kernels.BEYOND:
        raise ValueError(_beyond(shape))
    return matrix


def check_offsets(values: Array, offsets: Bytes, nm: NM) -> None:
    """Whether there are as many offsets as values.

    Raises:
        ValueError: there are not.
    """
    if nm.n == nm.m and offsets.size:
        raise ValueError(f"{nm} has no offsets, yet {offsets.size} bytes of them are given")
    check_size(offsets, offset_width(nm), values.size)


def _compiled(nm: NM, weights: Array) -> bool:
    return nm.m <= kernels.MAX_M and weights.dtype.itemsize in _WORDS and weights.dtype.kind != "O"


def _whole_24(shape: tuple[int, ...], block: tuple[int, int], nm: NM) -> bool:
    """Whether the kernels for 2:4 in whole blocks can do it."""
    whole = shape[0] % block[0] == 0 and shape[1] % block[1] == 0
    return (nm.n, nm.m) == (2, 4) and whole and block[1] % 8 == 0


def _too_many(kept: int, nm: NM) -> str:
    return f"a group keeps {kept} of {nm.m} weights, more than {nm}"


def _bad_offsets(nm: NM) -> str:
    return f"offsets do not ascend below {nm.m}"


def _beyond(shape: tuple[int, int]) -> str:
    return f"values lie beyond {shape[0]} x {shape[1]}, where padding is 0"


def _pack_numpy(
    mask: BoolArray, weights: Array, indices: Places, block: tuple[int, int], nm: NM
) -> tuple[Array, Bytes]:
    """:func:`pack_groups` in numpy alone."""
    height, width = block
    block_rows, kept = indices.shape
    groups = (block_rows, height, kept * width // nm.m, nm.m)
    inside = _compact(mask, indices, block).reshape(groups).astype(np.bool_, copy=False)
    counts = inside.sum(axis=-1)
    if counts.max(initial=0) > nm.n:
        raise ValueError(_too_many(int(counts.max()), nm))
    short = nm.n - counts[..., None]
    taken = inside | (~inside & (np.cumsum(~inside, axis=-1) <= short))
    places = np.flatnonzero(taken)
    stored = _compact(weights, indices, block).reshape(-1)[places]
    values = np.where(inside.reshape(-1)[places], stored, weights.dtype.type(0))
    offsets = pack_bits(places % nm.m if nm.n < nm.m else [], offset_width(nm))
    return values.reshape(*groups[:-1], nm.n), offsets


def _unpack_numpy(
    values: Array,
    offsets: Bytes,
    indices: Places,
    block: tuple[int, int],
    nm: NM,
    shape: tuple[int, int],
) -> Array:
    """:func:`unpack_groups` in numpy alone, sizes checked before."""
    height, width = block
    block_rows, kept = indices.shape
    if nm.n == nm.m:
        groups = values.reshape(-1, nm.m)
    else:
        words = unpack_bits(offsets, offset_width(nm), values.size).reshape(-1, nm.n)
        if words.max(initial=0) >= nm.m or (words[:, 1:] <= words[:, :-1]).any():
            raise ValueError(_bad_offsets(nm))
        groups = np.zeros((len(words), nm.m), dtype=values.dtype)
        groups[np.arange(len(words))[:, None], words] = values.reshape(-1, nm.n)
    rows, columns = shape
    grid = np.zeros((block_rows, -(-columns // width), height, width), dtype=values.dtype)
    compact = groups.reshape(block_rows, height, kept, width).swapaxes(1, 2)
    grid[np.arange(block_rows)[:, None], indices] = compact
    padded = grid.swapaxes(1, 2).reshape(block_rows * height, -1)
    beyond = padded[rows:].tobytes() + padded[:, columns:].tobytes()
    if beyond.strip(b"\0"):
        raise ValueError(_beyond(shape))
    return padded[:rows, :columns]


def _compact(matrix: Array, indices: Places, block: tuple[int, int]) -> Array:
    """Kept blocks of an S x K matrix side by side, [R, height, K'/B, width], 0 beyond its sides."""
    padding = [(0, -side % own) for side, own in zip(matrix.shape, block, strict=True)]
    if any(missing for _, missing in padding):
        matrix = np.pad(matrix, padding)
    blocks = matrix.reshape(len(indices), block[0], -1, block[1]).swapaxes(1, 2)
    kept = blocks[np.arange(len(indices))[:, None], indices]
    return np.ascontiguousarray(kept.swapaxes(1, 2))
