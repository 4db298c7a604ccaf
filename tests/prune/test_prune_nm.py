"""N:M masks, block pruning and the schedule against brute-force oracles."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import validated
from crisp_loop.core.masks import matrix_view
from crisp_loop.core.pattern import NM
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.patterns.blocks import (
    RankColumns,
    block_scores,
    choose_columns,
    comparable_scores,
    kept_blocks,
    rank_columns,
    write_blocks,
)
from crisp_loop.prune.patterns.nm import from_matrix, nm_mask, to_matrix
from crisp_loop.prune.schedule import kappa, weights_to_prune

SEEDS = st.integers(0, 2**31 - 1)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- N:M ---------------------------------------------------------------------------------


@given(
    seed=SEEDS,
    outputs=st.integers(1, 5),
    groups=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    nm=st.sampled_from([NM(1, 4), NM(2, 4), NM(3, 4), NM(4, 4), NM(2, 8)]),
)
def test_nm_mask_keeps_the_best_n_along_input_channels(
    seed: int, outputs: int, groups: int, kernel: tuple[int, int], nm: NM
) -> None:
    inputs = groups * nm.m
    scores = random(seed, outputs, inputs, *kernel)
    mask = nm_mask(scores, nm)
    assert torch.equal(to_matrix(mask), nm_mask(to_matrix(scores), nm))
    for o, y, x, g in itertools.product(
        range(outputs), range(kernel[0]), range(kernel[1]), range(groups)
    ):
        channels = range(g * nm.m, (g + 1) * nm.m)
        best = sorted(channels, key=lambda c: -float(scores[o, c, y, x]))[: nm.n]
        kept = [c for c in channels if mask[o, c, y, x]]
        assert sorted(best) == kept


SHAPES = st.sampled_from([(4, 16), (8, 8, 1, 1), (4, 8, 3, 3), (12, 4, 2, 2), (4, 8, 1, 3)])
SCORES = st.sampled_from(["few values", "many values", "all equal"])


def drawn_scores(seed: int, shape: tuple[int, ...], kind: str) -> torch.Tensor:
    """Whole numbers, whose sums are exact in any order; with few of them, ties abound."""
    top = {"few values": 3, "many values": 2**30, "all equal": 1}[kind]
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, top, shape, generator=generator).double()


def sorted_nm_mask(scores: torch.Tensor, nm: NM) -> torch.Tensor:
    """Oracle: a stable sort of every group of the matrix view."""
    matrix = to_matrix(scores)
    groups = matrix.reshape(len(matrix), -1, nm.m)
    best = groups.sort(dim=2, descending=True, stable=True).indices[..., : nm.n]
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(2, best, True)
    return from_matrix(mask.reshape(matrix.shape), scores.shape)


@given(
    seed=SEEDS,
    shape=SHAPES,
    kind=SCORES,
    nm=st.sampled_from([NM(1, 4), NM(2, 4), NM(3, 4), NM(4, 4), NM(1, 1), NM(1, 2)]),
    cached=st.sampled_from([1, 40, 2**19]),
)
def test_comparing_pairs_is_a_stable_sort(
    seed: int, shape: tuple[int, ...], kind: str, nm: NM, cached: int
) -> None:
    scores = drawn_scores(seed, shape, kind)
    expected = sorted_nm_mask(scores, nm)
    out = torch.zeros(shape, dtype=torch.bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crisp_loop.prune.patterns.nm._CACHED", cached)
        assert torch.equal(nm_mask(scores, nm), expected)
        assert nm_mask(scores, nm, out=out) is out
    assert torch.equal(out, expected)
    strided = scores.transpose(0, -1).contiguous().transpose(0, -1)
    assert torch.equal(nm_mask(strided, nm), expected)


@given(seed=SEEDS, shape=SHAPES, kind=SCORES, cached=st.sampled_from([1, 40, 2**19]))
def test_blocks_of_the_weight_layout_are_those_of_the_matrix(
    seed: int, shape: tuple[int, ...], kind: str, cached: int
) -> None:
    block = 4
    scores, keep = drawn_scores(seed, shape, kind), random(seed, *shape) > 0.5
    matrix = to_matrix(scores.masked_fill(~keep, 0.0))
    rows, columns = matrix.shape
    expected = matrix.reshape(rows // block, block, columns // block, block).sum(dim=(1, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crisp_loop.prune.patterns.nm._CACHED", cached)
        assert torch.equal(block_scores(scores, block, keep), expected)
    kept = random(seed + 1, *expected.shape) > 0.5
    mask = torch.empty(shape, dtype=torch.bool)
    write_blocks(kept, block, mask)
    whole = kept.repeat_interleave(block, dim=0).repeat_interleave(block, dim=1)
    assert torch.equal(to_matrix(mask), whole)


def test_ties_keep_the_earlier_weight() -> None:
    assert nm_mask(torch.zeros(1, 8), NM(2, 4)).tolist() == [[True, True, False, False] * 2]


@given(seed=SEEDS, shape=st.sampled_from([(3, 4), (3, 4, 1, 1), (2, 8, 3, 2), (5, 4, 2, 3)]))
def test_matrix_view_is_cores_and_has_an_inverse(seed: int, shape: tuple[int, ...]) -> None:
    weight = random(seed, *shape)
    assert np.array_equal(to_matrix(weight).numpy(), matrix_view(weight.numpy()))
    assert torch.equal(from_matrix(to_matrix(weight), weight.shape), weight)


# ---- blocks ------------------------------------------------------------------------------

ONE = torch.tensor(1)
"""One weight a block."""


@given(seed=SEEDS, rows=st.integers(1, 4), columns=st.integers(1, 6), block=st.sampled_from([2, 4]))
def test_block_scores_land_on_their_blocks(seed: int, rows: int, columns: int, block: int) -> None:
    saliency = random(seed, rows * block, columns * block)
    found = block_scores(saliency, block)
    assert found.shape == (rows, columns)
    for i, j in itertools.product(range(rows), range(columns)):
        part = saliency[i * block : (i + 1) * block, j * block : (j + 1) * block]
        assert float(found[i, j]) == pytest.approx(float(part.sum()))


@given(seed=SEEDS, rows=st.integers(1, 5), columns=st.integers(2, 7), data=st.data())
def test_each_row_loses_its_r_smallest(
    seed: int, rows: int, columns: int, data: st.DataObject
) -> None:
    scores = random(seed, rows, columns)
    count = data.draw(st.integers(0, columns - 1))
    layer = rank_columns(scores, torch.ones(rows, columns, dtype=torch.bool), ONE)
    kept = kept_blocks(layer, count)
    for i in range(rows):
        smallest = sorted(range(columns), key=lambda j: float(scores[i, j]))[:count]
        assert [j for j in range(columns) if not kept[i, j]] == sorted(smallest)
    ranked = np.sort(scores.numpy(), axis=1).sum(axis=0)
    assert np.allclose(layer.scores.numpy(), ranked)


def test_planted_minima_on_a_wide_grid() -> None:
    """Two block-rows, five block-columns: a transposed or ragged score would miss these."""
    saliency = torch.ones(4, 10)
    saliency[0:2, 6:8] = 0.01
    saliency[2:4, 0:2] = 0.02
    layer = rank_columns(block_scores(saliency, 2), torch.ones(2, 5, dtype=torch.bool), ONE)
    weights = torch.empty(4, 10, dtype=torch.bool)
    write_blocks(kept_blocks(layer, 1), 2, weights)
    expected = torch.ones(4, 10, dtype=torch.bool)
    expected[0:2, 6:8] = False
    expected[2:4, 0:2] = False
    assert torch.equal(weights, expected)
    assert float(layer.scores[0]) == pytest.approx(0.12)


@given(seed=SEEDS, steps=st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_masks_nest_and_rows_stay_equal_over_iterations(seed: int, steps: list[int]) -> None:
    rows, columns = 3, 8
    kept = torch.ones(rows, columns, dtype=torch.bool)
    count = 0
    for step, more in enumerate(steps):
        # Fresh scores each time; pruned blocks even look attractive.
        scores = random(seed + step, rows, columns) + (~kept) * 10
        layer = rank_columns(scores, kept, ONE)
        assert layer.pruned == count
        assert layer.scores[:count].eq(0).all()
        assert layer.scores[count:].diff().ge(0).all()
        count = min(count + more, columns - 1)
        new = kept_blocks(layer, count)
        assert not (new & ~kept).any()
        assert new.sum(dim=1).eq(columns - count).all()
        kept = new


LAYERS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 9)), min_size=1, max_size=4
)


def grid(seed: int, shapes: list[tuple[int, int, int]]) -> dict[str, RankColumns]:
    return {
        f"layer{i}": rank_columns(
            random(seed + i, rows, columns),
            torch.ones(rows, columns, dtype=torch.bool),
            torch.tensor(weights),
        )
        for i, (rows, columns, weights) in enumerate(shapes)
    }


@given(seed=SEEDS, shapes=LAYERS, share=st.floats(0, 1))
@settings(max_examples=200)
@pytest.mark.parametrize("norm", ["none", "mean", "per_param"])
def test_choice_is_the_global_smallest_prefix(
    norm: str, seed: int, shapes: list[tuple[int, int, int]], share: float
) -> None:
    layers = grid(seed, shapes)
    most = sum(int(layer.column_weights[:-1].sum()) for layer in layers.values())
    zeros = round(share * most)
    chosen = choose_columns(layers, zeros, norm)  # type: ignore[arg-type]
    done = sum(int(la.column_weights[: chosen[name]].sum()) for name, la in layers.items())
    assert done >= zeros
    assert all(chosen[name] < layer.columns for name, layer in layers.items())
    # Oracle: take the smallest remaining column anywhere, again and again.
    expected = dict.fromkeys(layers, 0)
    removed = last = 0
    while removed < zeros:
        open_columns = [
            (float(comparable_scores(layer, norm)[expected[name]]), name)  # type: ignore[arg-type]
            for name, layer in layers.items()
            if expected[name] < layer.columns - 1
        ]
        name = min(open_columns)[1]
        expected[name] += 1
        last = int(layers[name].column_weights[expected[name] - 1])
        removed += last
    assert chosen == expected
    assert done - zeros < max(last, 1)


def test_budget_counts_weights_and_guard_stops() -> None:
    ones = torch.ones(1, 3, dtype=torch.bool)
    layers = {
        "big": rank_columns(torch.tensor([[5.0, 6.0, 7.0]]), ones, torch.tensor(100)),
        "small": rank_columns(torch.tensor([[1.0, 2.0, 3.0]]), ones, torch.tensor(1)),
    }
    assert choose_columns(layers, 2) == {"big": 0, "small": 2}
    assert choose_columns(layers, 3) == {"big": 1, "small": 2}
    assert choose_columns(layers, 0) == {"big": 0, "small": 0}
    with pytest.raises(CrispLoopError, match="keep 1 of the blocks in every block-row"):
        choose_columns(layers, 203)


def test_norms_change_which_layer_goes_first() -> None:
    kept = torch.ones(1, 2, dtype=torch.bool)
    layers = {
        # A large layer with little saliency a weight, a small one with much.
        "large": rank_columns(torch.tensor([[4.0, 40.0]]), kept, torch.tensor(100)),
        "small": rank_columns(torch.tensor([[3.0, 4.0]]), kept, torch.tensor(10)),
    }
    assert choose_columns(layers, 1, "none") == {"large": 0, "small": 1}
    assert choose_columns(layers, 1, "per_param") == {"large": 1, "small": 0}
    assert choose_columns(layers, 1, "mean") == {"large": 1, "small": 0}


# ---- schedule ----------------------------------------------------------------------------


def test_kappa_is_the_linear_schedule() -> None:
    config = PruneConfig(sparsity=0.9, iterations=4)
    values = [kappa(p, config, 50, 100) for p in range(1, 5)]
    assert values == [Fraction(6, 10), Fraction(7, 10), Fraction(8, 10), Fraction(9, 10)]
    assert kappa(3, PruneConfig(nm=NM(3, 4), sparsity=0.29), 25, 100) == Fraction(29, 100)
    assert kappa(1, PruneConfig(sparsity=0.5, iterations=5), 50, 100) == Fraction(1, 2)


def test_counts_are_rounded_not_truncated() -> None:
    assert int(0.29 * 100) == 28
    config = PruneConfig(method="unstructured", sparsity=0.29, iterations=1)
    assert weights_to_prune(kappa(1, config, 0, 100), 100) == 29


def test_kappa_below_the_pattern_is_refused() -> None:
    with pytest.raises(InputError, match=r"1:4 alone prunes 0\.75"):
        validated({"nm": "1:4", "sparsity": 0.7}, PruneConfig, "experiment.yaml")
