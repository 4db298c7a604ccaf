"""The reference product: packed weights times dense activations, by the indices alone.

Each output row gathers the activations that its stored values' indices name, and nothing else: no
dense weight is made, and activations of pruned blocks and masked places are never read (a NaN there
does not matter). Slow and plain, for tests and for traffic counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crisp_loop.core.masks import touched_blocks
from crisp_loop.formats.bits import unpack_bits
from crisp_loop.formats.groups import offset_width
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.formats.nm import NMMatrix

Packed = HybridMatrix | NMMatrix
Numbers = npt.NDArray[np.number[Any]]
_GATHERED = 1 << 22
"""Activations gathered at once."""


def columns_of(packed: Packed) -> npt.NDArray[np.int64]:
    """The column of the matrix in which each stored value lies.

    Returns:
        int64 (rows, values a row); rows are S, or S rounded up to whole blocks. Values of padding
        may lie beyond K.

    Raises:
        ValueError: parts that do not fit each other; the message says which.
    """
    packed.decode()  # checks everything
    n, m = packed.nm.n, packed.nm.m
    if isinstance(packed, HybridMatrix):
        rows = packed.grid[0] * packed.block
        blocks = packed.indices()[:, None, :, None, None] * packed.block
        groups = np.arange(packed.block // m)[:, None] * m
        starts = np.broadcast_to(
            blocks + groups, (packed.grid[0], packed.block, packed.kept_blocks, len(groups), 1)
        ).reshape(rows, -1, 1)
    else:
        rows = packed.shape[0]
        groups = np.arange(packed.shape[1] // m)
        starts = np.broadcast_to(groups[:, None] * m, (rows, len(groups), 1))
    if n == m:
        offsets = np.arange(n)
    else:
        words = unpack_bits(packed.offsets, offset_width(packed.nm), packed.values.size)
        offsets = words.reshape(rows, -1, n).astype(np.int64)
    return np.asarray(starts + offsets, dtype=np.int64).reshape(rows, -1)


def matmul(packed: Packed, activations: Numbers) -> Numbers:
    """``packed.decode() @ activations``, up to the order of sums.

    Args:
        packed: S x K.
        activations: (K, N), a dtype of numbers.

    Returns:
        (S, N), of the dtype that numpy makes of both.

    Raises:
        ValueError: another number of rows than K, or parts that do not fit each other.
    """
    rows, inner = packed.shape
    if activations.ndim != 2 or len(activations) != inner:
        raise ValueError(f"expected activations shaped {inner} x N, not {activations.shape}")
    columns = columns_of(packed)[:rows]
    values: Numbers = packed.values.astype(np.result_type(packed.values), copy=False).reshape(
        -1, columns.shape[1]
    )[:rows]
    width = activations.shape[1]
    # Values of padding are 0; what they are multiplied with must be, too.
    side = packed.block if isinstance(packed, HybridMatrix) else 1
    padded = np.pad(activations, ((0, -inner % side), (0, 0)))
    result = np.zeros((rows, width), dtype=np.result_type(values.dtype, activations.dtype))
    step = max(1, _GATHERED // max(1, columns.shape[1] * width))
    for first in range(0, rows, step):
        part = slice(first, first + step)
        result[part] = (values[part, None, :] @ padded[columns[part]])[:, 0]
    return result


def linear(packed: Packed, inputs: Numbers) -> Numbers:
    """A linear layer without bias: inputs (..., K) to outputs (..., S)."""
    flat = inputs.reshape(-1, inputs.shape[-1])
    return matmul(packed, flat.T).T.reshape(*inputs.shape[:-1], packed.shape[0])


def conv2d(
    packed: Packed,
    images: Numbers,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> Numbers:
    """A convolution without bias and groups, as the product with the unfolded images.

    Args:
        packed: S x K with K ordered (kh, kw, C_in).
        images: (batch, C_in, H, W).
        kernel: (kh, kw).
        stride: Steps of the window, (vertical, horizontal), as all that follow.
        padding: Zeros on both sides.
        dilation: Distance of the window's places.

    Returns:
        (batch, S, P, Q).

    Raises:
        ValueError: K is not kh * kw * C_in, or a window larger than the padded image.
    """
    unfolded, (height, width) = unfold(images, kernel, stride, padding, dilation)
    product = matmul(packed, unfolded)
    return product.reshape(packed.shape[0], len(images), height, width).swapaxes(0, 1)


def unfold(
    images: Numbers,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> tuple[Numbers, tuple[int, int]]:
    """im2col in the order of weights: rows (kh, kw, C_in), columns (batch, P, Q), and (P, Q).

    Raises:
        ValueError: a window larger than the padded image.
    """
    sides = [(0, 0), (0, 0), *((pad, pad) for pad in padding)]
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(images, sides), reach, (2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    height, width = windows.shape[2:4]
    rows = windows.transpose(4, 5, 1, 0, 2, 3)
    return rows.reshape(kernel[0] * kernel[1] * images.shape[1], -1), (height, width)


def input_blocks(packed: HybridMatrix, tile: int = 1) -> npt.NDArray[np.int64]:
    """Distinct input blocks that each tile of ``tile`` block-rows reads, int64 (tiles).

    Times B * N, these are the activations that must be loaded for a tile that stays on chip.
    """
    return touched_blocks(packed.kept(), tile)
