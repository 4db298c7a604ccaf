"""Blocks of layers whose sides B does not divide, against explicitly padded matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import crisp_loop.api as crisp
from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.layers import Layer, LayerTable
from crisp_loop.core.masks import Masks, load_masks, matrix_view, save_masks, sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.methods.hybrid import prune_blocks, set_nm_masks
from crisp_loop.prune.patterns.blocks import (
    block_scores,
    choose_columns,
    kept_blocks,
    mask_and_score,
    rank_columns,
    weights_in_blocks,
    write_blocks,
)
from crisp_loop.prune.patterns.nm import nm_mask, to_matrix
from crisp_loop.prune.plan import Plan, column_weights, pattern_zeros, plan_layers
from crisp_loop.prune.results import layer_reports
from crisp_loop.prune.scores.products import Product
from crisp_loop.prune.ste import WeightMask

Array = np.ndarray[Any, Any]
SEEDS = st.integers(0, 2**31 - 1)
PATTERNS = st.sampled_from([NM(1, 4), NM(2, 4), NM(3, 4), NM(4, 4)])


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """Of a weight; mostly with sides that no block divides."""
    kernel = draw(st.sampled_from([(), (1, 1), (3, 3), (1, 3)]))
    return draw(st.integers(1, 40)), 4 * draw(st.integers(1, 12)), *kernel


def whole(generator: torch.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Whole numbers: their sums are exact in any order."""
    return torch.randint(1, 2**20, shape, generator=generator).double()


def padded(matrix: Array, block: int) -> Array:
    return np.pad(matrix, [(0, -side % block) for side in matrix.shape])


def tiles(matrix: Array, block: int) -> Array:
    """R x C x B x B blocks of the padded matrix."""
    full = padded(matrix, block)
    grid = full.reshape(full.shape[0] // block, block, full.shape[1] // block, block)
    return grid.swapaxes(1, 2)


# ---- scores and masks of one layer -------------------------------------------------------


@settings(deadline=None)
@given(seed=SEEDS, shape=shapes(), block=st.sampled_from([4, 16, 32]), cached=st.booleans())
def test_block_scores_are_those_of_the_padded_matrix(
    seed: int, shape: tuple[int, ...], block: int, cached: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores, keep = whole(generator, shape), torch.rand(shape, generator=generator) > 0.5
    matrix = matrix_view((scores * keep).numpy())
    with pytest.MonkeyPatch.context() as patch:
        if not cached:  # several parts even of a small layer
            patch.setattr("crisp_loop.prune.patterns.nm._CACHED", 1)
        found = block_scores(scores, block, keep)
    assert np.array_equal(found.numpy(), tiles(matrix, block).sum(axis=(2, 3)))


@settings(deadline=None)
@given(seed=SEEDS, shape=shapes(), nm=PATTERNS, block=st.sampled_from([16, 32]))
def test_compiled_and_torch_paths_agree(
    seed: int, shape: tuple[int, ...], nm: NM, block: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Products of whole numbers below 2**12 and their sums are exact too.
    gradient, weight = (
        torch.randint(-(2**12), 2**12, shape, generator=generator).double() for _ in range(2)
    )
    mask = torch.empty(shape, dtype=torch.bool)
    scores = (gradient * weight).abs()
    found = mask_and_score(Product(gradient.clone(), weight), nm, block, mask)
    assert torch.equal(mask, nm_mask(scores, nm))
    assert torch.equal(found, block_scores(scores, block, mask))
    again = torch.empty_like(mask)
    assert torch.equal(mask_and_score(scores.clone(), nm, block, again), found)
    assert torch.equal(mask, again)
    expected = tiles(matrix_view((scores * mask).numpy()), block).sum(axis=(2, 3))
    assert np.array_equal(found.numpy(), expected)


@settings(deadline=None)
@given(seed=SEEDS, shape=shapes(), nm=PATTERNS, block=st.sampled_from([16, 32]), data=st.data())
def test_rank_columns_count_real_weights(
    seed: int, shape: tuple[int, ...], nm: NM, block: int, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = whole(generator, shape)
    mask = nm_mask(scores, nm)
    real = tiles(to_matrix(mask).numpy(), block).sum(axis=(2, 3))
    counted = weights_in_blocks(shape[0], mask[0].numel(), block, nm)
    assert np.array_equal(counted.numpy(), real)
    sums = block_scores(scores, block, mask)
    layer = rank_columns(sums, torch.ones(sums.shape, dtype=torch.bool), counted)
    order = np.argsort(sums.numpy(), axis=1, kind="stable")
    assert layer.columns == sums.shape[1]
    assert layer.column_weights.tolist() == np.take_along_axis(real, order, 1).sum(axis=0).tolist()
    # Written out, pruned columns remove as many weights as was counted.
    count = data.draw(st.integers(0, layer.columns))
    kept = kept_blocks(layer, count)
    hard = torch.empty(shape, dtype=torch.bool)
    write_blocks(kept, block, hard)
    every = np.repeat(np.repeat(kept.numpy(), block, axis=0), block, axis=1)
    rows, columns = to_matrix(hard).shape
    assert np.array_equal(to_matrix(hard).numpy(), every[:rows, :columns])
    assert int((mask & ~hard).sum()) == int(layer.column_weights[:count].sum())
    assert kept.sum(dim=1).eq(layer.columns - count).all()


def test_per_param_never_prunes_a_rank_before_a_lower_one() -> None:
    """Rank 1 is a narrow block with much saliency a weight, rank 2 a wide one with little."""
    kept = torch.ones(1, 4, dtype=torch.bool)
    weights = torch.tensor([[100, 100, 100, 10]])
    layers = {
        "padded": rank_columns(torch.tensor([[10.0, 12.0, 99.0, 11.0]]), kept, weights),
        "other": rank_columns(torch.tensor([[40.0, 50.0]]), kept[:, :2], torch.tensor(100)),
    }
    assert layers["padded"].column_weights.tolist() == [100, 10, 100, 100]
    assert choose_columns(layers, 100, "per_param") == {"padded": 1, "other": 0}
    assert choose_columns(layers, 101, "per_param") == {"padded": 1, "other": 1}
    assert choose_columns(layers, 201, "per_param") == {"padded": 2, "other": 1}
    assert choose_columns(layers, 211, "per_param") == {"padded": 3, "other": 1}


# ---- whole layers, by Algorithm 1 on padded matrices -------------------------------------


def table_of(weights: dict[str, tuple[int, ...]]) -> LayerTable:
    layers: list[Layer] = []
    for name, (outputs, inputs, *kernel) in weights.items():
        height, width = kernel or (1, 1)
        kind = "conv" if kernel else "linear"
        layers.append(Layer(name, kind, inputs, outputs, (height, width)))
    # The first convolution and the last linear layer would stay dense.
    return LayerTable("toy", 0, (Layer("in", "conv", 3, 4), *layers, Layer("out", "linear", 4, 2)))


def by_hand(
    scores: dict[str, Array], plan: Plan, config: PruneConfig, zeros: int
) -> dict[str, Array]:
    """Masks S x K by lines 2 to 10, every matrix padded, one column after the other."""
    nm, block = config.nm, config.block
    masks, heads = {}, {}
    for layer in plan.prunable:
        matrix = scores[layer.name]
        groups = matrix.reshape(layer.S, -1, nm.m)
        best = np.argsort(np.argsort(-groups, axis=2, kind="stable"), axis=2) < nm.n
        masks[layer.name] = best.reshape(matrix.shape)
    for layer in plan.of_form("hybrid"):
        sums = tiles(scores[layer.name] * masks[layer.name], block).sum(axis=(2, 3))
        heads[layer.name] = np.sort(sums, axis=1), np.argsort(sums, axis=1, kind="stable"), 0
    while sum(int((~mask).sum()) for mask in masks.values()) < zeros:
        columns = []
        for name, (sums, order, rank) in heads.items():
            if rank >= sums.shape[1] - config.min_blocks:
                continue
            real = tiles(masks[name], block).sum(axis=(2, 3))
            count = np.take_along_axis(real, order, 1)[:, rank].sum()
            score = sums[:, rank].sum()
            columns.append((score / count if config.score_norm == "per_param" else score, name))
        name = min(columns)[1]
        sums, order, rank = heads[name]
        grid = tiles(masks[name], block).copy()
        grid[np.arange(len(order)), order[:, rank]] = False
        flat = grid.swapaxes(1, 2).reshape(padded(masks[name], block).shape)
        masks[name] = flat[: masks[name].shape[0], : masks[name].shape[1]]
        heads[name] = sums, order, rank + 1
    return masks


@settings(deadline=None, max_examples=60)
@given(
    seed=SEEDS,
    drawn=st.lists(shapes(), min_size=1, max_size=3),
    nm=st.sampled_from(["1:4", "2:4", "3:4"]),
    norm=st.sampled_from(["none", "per_param"]),
    min_blocks=st.integers(1, 2),
    share=st.floats(0, 1),
)
def test_masks_are_those_of_padded_matrices(
    seed: int,
    drawn: list[tuple[int, ...]],
    nm: str,
    norm: str,
    min_blocks: int,
    share: float,
) -> None:
    sizes = {f"layer{i}": shape for i, shape in enumerate(drawn)}
    options = {"nm": nm, "score_norm": norm, "min_blocks": min_blocks, "indivisible": "pad"}
    floor = float(1 - NM.parse(nm).density)
    config = PruneConfig.model_validate({**options, "sparsity": floor})
    plan = plan_layers(table_of(sizes), config)
    masks = {name: WeightMask(torch.zeros(shape)) for name, shape in sizes.items()}
    total = sum(layer.weights for layer in plan.prunable)
    least = pattern_zeros(plan, config)
    columns = {layer.name: column_weights(layer, config) for layer in plan.of_form("hybrid")}
    reached: dict[str, Array] = {}
    for step in (0.4, 1.0):
        generator = torch.Generator().manual_seed(seed + round(step * 10))
        scores = {name: whole(generator, shape) for name, shape in sizes.items()}
        zeros = least + round(step * share * (total - least))
        soft = set_nm_masks(masks, {k: v.clone() for k, v in scores.items()}, plan, config)
        try:
            kept = prune_blocks(masks, soft, plan, config, zeros)
        except CrispLoopError:
            # Out of reach: even all columns but the guard's leave too few zeros.
            most = total - sum(
                layer.S * min_blocks * config.block * config.nm.n // config.nm.m
                for layer in plan.of_form("hybrid")
            )
            assert zeros > most - sum(
                layer.weights * config.nm.n // config.nm.m for layer in plan.of_form("nm")
            )
            return
        found = {k: to_matrix(m.soft & m.hard).numpy() for k, m in masks.items()}
        if not reached:
            views = {name: matrix_view(score.numpy()) for name, score in scores.items()}
            expected = by_hand(views, plan, config, zeros)
            assert all(np.array_equal(found[name], expected[name]) for name in expected)
        count = sum(int((~mask).sum()) for mask in found.values())
        assert count >= zeros
        if count > zeros:
            assert count - zeros < max(columns.values(), default=0) or reached
        for name, blocks in kept.items():
            pattern = sparsity_of(found[name], config.nm, config.block)
            assert pattern.nnz == int(found[name].sum())
            assert pattern.kept_blocks in (blocks, None)
            hard = to_matrix(masks[name].hard).numpy()
            assert (tiles(hard, config.block).any(axis=(2, 3)).sum(axis=1) == blocks).all()
            assert not (hard & ~reached[name]).any() if reached else True
        reached = {k: to_matrix(m.hard).numpy().copy() for k, m in masks.items()}


# ---- plans -------------------------------------------------------------------------------


@pytest.mark.parametrize(("block", "odd"), [(16, 4), (32, 7), (64, 24)])
def test_mobilenet_has_blocks_everywhere(block: int, odd: int) -> None:
    table = layer_table("mobilenetv2")
    config = PruneConfig(block=block, sparsity=0.55, indivisible="pad")
    plan = plan_layers(table, config)
    pointwise = [entry for entry in plan.layers if entry.form != "dense"]
    assert len(pointwise) == 34
    padded_ones = [e for e in pointwise if e.layer.S % block or e.layer.K % block]
    assert len(padded_ones) == odd
    for entry in pointwise:
        # A block-row of one block keeps it; nothing else stands against blocks.
        assert entry.form == ("nm" if block >= entry.layer.K else "hybrid")
        if entry.form == "nm":
            assert entry.reason == f"each block-row has one block of {block}, which stays"
        else:
            assert bool(entry.reason) == (entry in padded_ones)
    reasons = {e.reason for e in plan.layers if e.form == "dense"}
    assert reasons == {"stem", "head", "depthwise"}


def test_a_plan_says_how_layers_are_padded() -> None:
    sizes = {"a": (20, 64), "b": (32, 20, 3, 3), "c": (64, 64), "d": (20, 12)}
    plan = plan_layers(table_of(sizes), PruneConfig(indivisible="pad", sparsity=0.6))
    said = {e.layer.name: (e.form, e.reason) for e in plan.layers if e.layer.name in sizes}
    assert said == {
        "a": ("hybrid", "20 x 64 padded to 32 x 64"),
        "b": ("hybrid", "32 x 180 padded to 32 x 192"),
        "c": ("hybrid", ""),
        "d": ("nm", "each block-row has one block of 16, which stays"),
    }
    plan = plan_layers(table_of(sizes), PruneConfig(sparsity=0.6))
    assert [layer.name for layer in plan.of_form("hybrid")] == ["c"]


def test_the_most_that_a_padded_layer_can_lose() -> None:
    table = table_of({"a": (20, 100)})  # 7 blocks a row, the last one with 4 columns
    with pytest.raises(InputError, match=r"the most is 0\.98"):
        plan_layers(table, PruneConfig(indivisible="pad", sparsity=0.985))
    config = PruneConfig(indivisible="pad", sparsity=0.98)  # 4 of 100 columns at 2:4
    plan = plan_layers(table, config)

    def pruned(edge: float) -> int:
        masks = {"a": WeightMask(torch.zeros(20, 100))}
        scores = torch.ones(20, 100, dtype=torch.float64)
        scores[:, 96:] = edge
        sums = set_nm_masks(masks, {"a": scores}, plan, config)
        assert prune_blocks(masks, sums, plan, config, 1960) == {"a": 1}
        return int((masks["a"].soft & masks["a"].hard).sum())

    assert pruned(100.0) == 40
    # Where the narrow blocks are the worst, choosing says that they cannot be all that is left.
    with pytest.raises(CrispLoopError, match="can remove 840 weights"):
        pruned(0.0)


# ---- through the whole loop --------------------------------------------------------------


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 20, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(20, 24, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 36),
        nn.ReLU(),
        nn.Linear(36, 3),
    )


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(30, 1, 6, 6, generator=generator), torch.arange(30) % 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"score_norm": "per_param"},
        {"score_norm": "mean", "order": "blocks_first"},
        {"method": "blocks", "sparsity": 0.6},
        {"block": 32, "nm": "1:4", "sparsity": 0.85},
    ],
    ids=str,
)
def test_a_small_network(options: dict[str, Any], tmp_path: Path) -> None:
    epochs = {"ste_epochs": 1, "iteration_epochs": 1, "final_epochs": 1, "iterations": 2}
    config = PruneConfig.model_validate(
        {"sparsity": 0.8, "indivisible": "pad", **epochs, **options}
    )
    model = network()
    plan = plan_layers(layer_table(model, (1, 6, 6)), config)
    assert [layer.name for layer in plan.of_form("hybrid")] == ["2", "6"]
    masks = crisp.prune(model, samples(), config)
    zeros = sum(int((~mask).sum()) for mask in masks.layers.values())
    total = 24 * 180 + 36 * 96
    column = max(column_weights(layer, config) for layer in plan.prunable)
    assert 0 <= zeros - config.sparsity * total < column
    for name, mask in masks.layers.items():
        weight = model.get_parameter(f"{name}.weight")
        assert mask.shape == tuple(weight.shape)
        assert weight[torch.from_numpy(~mask)].eq(0).all()
    crisp.save_masks(tmp_path / "masks.safetensors", masks)
    back = load_masks(tmp_path / "masks.safetensors")
    reports = {report.name: report for report in layer_reports(plan, back)}
    hybrids = 0
    for name, mask in masks.layers.items():
        assert np.array_equal(back.layers[name], mask)
        report, view = reports[name], matrix_view(mask).astype(bool)
        found = sparsity_of(view, config.nm, config.block)
        grid = np.asarray(tiles(view, config.block).any(axis=(2, 3)))
        assert (report.form, report.nnz) == ("hybrid", int(mask.sum()))
        assert "padded to" in report.reason
        assert report.block_columns == grid.shape[1]
        assert (grid.sum(axis=1) == report.kept_blocks).all()
        if found.form == "hybrid":
            hybrids += 1
            assert found.kept_blocks == report.kept_blocks
            assert found.touched_blocks == grid.any(axis=0).sum()
            assert found.density == mask.mean()
    assert hybrids
    # Read off the weights alone, they are the same masks.
    again = crisp.masks_of(model, config.nm, config.block, names=list(masks.layers))
    assert all(np.array_equal(again.layers[name], mask) for name, mask in masks.layers.items())


# ---- recognition -------------------------------------------------------------------------


def test_patterns_of_masks_that_blocks_do_not_divide(tmp_path: Path) -> None:
    nm = NM(2, 4)
    mask = np.tile(np.array([1, 0, 1, 0], dtype=bool), (20, 11))  # 20 x 44: 2 x 3 blocks of 16
    assert sparsity_of(mask, nm, 16).form == "nm"
    mask[:16, 32:] = False
    mask[16:, :16] = False
    found = sparsity_of(mask, nm, 16)
    assert (found.form, found.kept_blocks, found.touched_blocks) == ("hybrid", 2, 3)
    assert (found.nnz, int(mask.sum())) == (16 * 16 + 4 * 14,) * 2
    assert found.density == found.nnz / (20 * 44)
    save_masks(tmp_path / "masks", Masks("net", nm, 16, {"layer": mask}))
    assert np.array_equal(load_masks(tmp_path / "masks").layers["layer"], mask)
    mask[16:, 16:32] = False
    with pytest.raises(ValueError, match="block-rows 1 and 0 keep 1 and 2 blocks"):
        sparsity_of(mask, nm, 16)


def test_groups_wider_than_blocks_are_no_blocks() -> None:
    """1:32 leaves every second block of 16 of a single row empty, by no block pruning."""
    mask = np.zeros((17, 96), dtype=bool)
    mask[:, ::32] = True
    assert sparsity_of(mask, NM(1, 32), 16).form == "nm"
