"""The reference product against torch, and counts of input blocks against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from format_cases import NM_PATTERNS, hybrid_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from crisp_loop.core.masks import kept_blocks, matrix_view, sparsity_of, touched_blocks
from crisp_loop.core.pattern import NM
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.formats.nm import NMMatrix
from crisp_loop.formats.product import columns_of, conv2d, input_blocks, linear, matmul

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(NM_PATTERNS),
    st.integers(1, 40),
    st.integers(1, 4),
    pairs,
    pairs,
    pairs,
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.integers(0, 2**32 - 1),
)
def test_convolutions(
    nm: NM,
    out: int,
    groups: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((out, groups * nm.m, *kernel))
    matrix = matrix_view(weight)
    columns = -(-matrix.shape[1] // 8)
    mask = hybrid_mask(rng, matrix.shape, nm, 8, int(rng.integers(1, columns + 1)))
    images = rng.standard_normal((2, groups * nm.m, 9, 8))
    per_place = mask.reshape(out, *kernel, groups * nm.m).transpose(0, 3, 1, 2)
    expected = F.conv2d(
        torch.from_numpy(images),
        torch.from_numpy(np.where(per_place, weight, 0)),
        None,
        stride,
        padding,
        dilation,
    )
    packed = HybridMatrix.encode(mask, matrix, nm, 8)
    found = conv2d(packed, images, kernel, stride, padding, dilation)
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    plain = NMMatrix.encode(mask, matrix, nm)
    again = conv2d(plain, images, kernel, stride, padding, dilation)
    np.testing.assert_allclose(again, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(64, 128), (50, 100), (7, 4)])
def test_linear_layers_of_sequences(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    mask = hybrid_mask(rng, shape, NM(2, 4), 16, 1, full=False)
    weight, inputs = rng.standard_normal(shape), rng.standard_normal((3, 5, shape[1]))
    packed = HybridMatrix.encode(mask, weight, NM(2, 4), 16)
    expected = F.linear(torch.from_numpy(inputs), torch.from_numpy(weight * mask))
    np.testing.assert_allclose(linear(packed, inputs), expected, rtol=1e-12, atol=1e-12)


def test_values_know_their_columns() -> None:
    rng = np.random.default_rng(1)
    mask = hybrid_mask(rng, (20, 44), NM(2, 4), 16, 2)
    ranks = np.broadcast_to(np.arange(44.0), mask.shape).copy()
    packed = HybridMatrix.encode(mask, ranks, NM(2, 4), 16)
    columns = columns_of(packed)
    values = packed.values.reshape(columns.shape)
    assert columns.shape == (32, 16)
    kept = values != 0
    assert kept.sum() == mask[:, 1:].sum()
    assert (columns[kept] == values[kept]).all()


def test_what_is_pruned_is_never_read() -> None:
    rng = np.random.default_rng(2)
    mask = hybrid_mask(rng, (32, 64), NM(2, 4), 16, 1)
    packed = HybridMatrix.encode(mask, np.ones(mask.shape), NM(2, 4), 16)
    activations = np.full((64, 3), np.nan)
    read = np.unique(columns_of(packed))
    activations[read] = 1
    assert len(read) < 64
    assert np.isfinite(matmul(packed, activations)).all()
    with pytest.raises(ValueError, match=r"expected activations shaped 64 x N, not \(63, 3\)"):
        matmul(packed, activations[1:])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_touched_blocks_by_brute_force(rows: int, columns: int, tile: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kept = int(rng.integers(1, columns + 1))
    mask = hybrid_mask(rng, (rows * 8, columns * 8), NM(2, 4), 8, kept)
    grid = kept_blocks(mask, 8)
    unions = []
    for first in range(0, rows, tile):
        union: set[int] = set()
        for row in range(first, min(first + tile, rows)):
            cells = mask[row * 8 : row * 8 + 8]
            union |= {c for c in range(columns) if cells[:, c * 8 : c * 8 + 8].any()}
        unions.append(len(union))
    assert touched_blocks(grid, tile).tolist() == unions
    packed = HybridMatrix.encode(mask, mask.astype(np.float32), NM(2, 4), 8)
    assert np.array_equal(packed.kept(), grid)
    assert input_blocks(packed, tile).tolist() == unions
    assert input_blocks(packed).tolist() == [kept] * rows
    found = sparsity_of(mask, NM(2, 4), 8)
    if found.form == "hybrid":
        assert found.touched_blocks == input_blocks(packed, rows)[0]
