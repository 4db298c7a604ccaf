"""Mistakes of published code, each beside what is right and what this package does."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from prune_cases import Net, drawn, given, open_masks, options, plan_of, samples, task_of
from torch import Tensor, nn

from crisp_loop.datasets.split import Dataset, Split
from crisp_loop.networks.registry import NETWORKS, Network
from crisp_loop.prune.methods.hybrid import Hybrid
from crisp_loop.prune.module import prune_module
from crisp_loop.prune.patterns.blocks import block_scores, kept_blocks, rank_columns
from crisp_loop.prune.patterns.nm import nm_mask, to_matrix
from crisp_loop.prune.run import prune_network
from crisp_loop.prune.ste import WeightMask
from crisp_loop.prune.training.prune import prune_model

ONE_EACH = torch.ones(1, dtype=torch.int64)
"""Every block counts as one weight."""


def test_block_scores_without_a_transpose() -> None:
    """Blocks listed column by column, then read as if row by row: right on square grids only."""
    block, rows, columns = 16, 2, 9
    scores = drawn(plan_of(a=("hybrid", (32, 16, 3, 3))), 0)["a"]
    right = torch.zeros(rows, columns, dtype=torch.float64)
    for s, k in itertools.product(range(rows * block), range(columns * block)):
        position, channel = divmod(k, 16)
        right[s // block, k // block] += scores[s, channel, position // 3, position % 3]

    blocks = to_matrix(scores).reshape(rows, block, columns, block).sum(dim=(1, 3))
    column_by_column = [float(blocks[i, j]) for j in range(columns) for i in range(rows)]
    mistaken = torch.tensor(column_by_column, dtype=torch.float64).reshape(rows, columns)

    assert torch.equal(block_scores(scores, block), right)
    assert sorted(mistaken.flatten()) == sorted(right.flatten())
    worst = right.argmin(dim=1)
    assert not torch.equal(mistaken.argmin(dim=1), worst)
    kept = torch.ones(rows, columns, dtype=torch.bool)
    found = kept_blocks(
        rank_columns(block_scores(scores, block), kept, torch.ones(1, dtype=torch.int64)), 1
    )
    assert torch.equal((~found).int().argmax(dim=1), worst)


def test_row_counts_that_drift_apart() -> None:
    """Each iteration's own smallest blocks, added to those pruned before: overlaps differ."""
    rows, columns = 3, 8
    generator = torch.Generator().manual_seed(1)
    mistaken = ours = torch.ones(rows, columns, dtype=torch.bool)
    for count in (2, 4, 5):
        scores = torch.rand(rows, columns, generator=generator, dtype=torch.float64)
        smallest = scores.argsort(dim=1)[:, :count]
        mistaken = mistaken & torch.ones_like(mistaken).scatter(1, smallest, False)

        expected = ours.clone()
        for i in range(rows):
            rest = sorted(j for j in range(columns) if expected[i, j])
            rest.sort(key=lambda j, row=scores[i]: float(row[j]))
            expected[i, rest[: count - (columns - len(rest))]] = False
        ours = kept_blocks(rank_columns(scores, ours, ONE_EACH), count)
        assert torch.equal(ours, expected)
        assert ours.sum(dim=1).tolist() == [columns - count] * rows
    assert len(set(mistaken.sum(dim=1).tolist())) > 1


def weak_and_strong() -> tuple[nn.Linear, Tensor, Tensor]:
    """The first input tells the classes apart best, but its weight starts near zero."""
    labels = torch.arange(16) % 2
    inputs = (labels * 2.0 - 1.0)[:, None] * torch.tensor([1.0, 0.2, 0.2, 0.1])
    model = nn.Linear(4, 2, bias=False)
    model.weight.data = torch.tensor([[-0.01, -0.5, -0.5, -0.1], [0.01, 0.5, 0.5, 0.1]])
    return model, inputs, labels


def test_no_straight_through_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    """With masked gradients, what the first masks take never comes back."""
    config = options(
        method="nm", nm="2:4", prune_head=True, ste_epochs=10, iterations=1, lr=0.2,
        iteration_epochs=0, final_epochs=0,
    )  # fmt: skip
    first = [[False, True, True, False]] * 2
    started: list[list[list[bool]]] = []
    start = Hybrid.start

    def noted(self: Hybrid, masks: dict[str, WeightMask]) -> None:
        start(self, masks)
        started.extend(mask.keep.tolist() for mask in masks.values())

    def mistaken(self: Hybrid, masks: dict[str, WeightMask]) -> None:
        noted(self, masks)
        for mask in masks.values():
            mask.hard.copy_(mask.soft)  # no gradient from here on

    kept = []
    for way in (noted, mistaken):
        monkeypatch.setattr(Hybrid, "start", way)
        model, inputs, labels = weak_and_strong()
        prune_module(model, (inputs, labels), config)
        kept.append((model.weight != 0).tolist())
    assert started == [first, first]
    assert all(row[0] for row in kept[0])  # revived
    assert not any(row[0] for row in kept[1])


def test_a_sparsity_that_leaves_out_dense_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = samples()
    split = Split(images, labels)
    data = Dataset("brightest", ("r", "g", "b"), split, split, split)
    monkeypatch.setitem(NETWORKS, "net", Network(lambda classes: Net(), (3, 8, 8), 3))
    config = options(train_epochs=0, upper_bound=False)
    summary = prune_network("net", "digits", (0, 1, 2), config, tmp_path, data=data)
    dense = {report.name: report.S * report.K for report in summary.layers if not report.sparsity}
    assert dense == {"stem": 16 * 27, "depthwise": 32 * 9, "head": 48 * 3}
    prunable = 32 * 16 * 9 + 48 * 32
    assert summary.all_weights == prunable + sum(dense.values())
    zeros = summary.parameters - summary.parameters_kept
    mistaken = zeros / prunable
    assert summary.sparsity == mistaken
    assert summary.sparsity_all == zeros / (prunable + sum(dense.values())) < mistaken


def test_counts_cut_off() -> None:
    assert int(0.29 * 100) == 28
    config = options(method="unstructured", sparsity=0.29, iterations=1)
    model = nn.Sequential(nn.Linear(20, 5), nn.ReLU(), nn.Linear(5, 3))
    masks = prune_module(model, (torch.randn(12, 20), torch.arange(12) % 3), config)
    assert int((~masks.layers["0"]).sum()) == 29


def test_groups_along_the_kernel() -> None:
    """OIHW flattened puts kw innermost: groups of four then mix places of one channel."""
    config = options()
    plan = plan_of(a=("nm", (8, 16, 3, 3)))
    scores = drawn(plan, 0)["a"]
    right = torch.zeros(scores.shape, dtype=torch.bool)
    for o, y, x, first in itertools.product(range(8), range(3), range(3), range(0, 16, 4)):
        group = sorted((-float(scores[o, c, y, x]), c) for c in range(first, first + 4))
        for _, channel in group[:2]:
            right[o, channel, y, x] = True

    flat = scores.reshape(-1, 4)
    mistaken = torch.zeros_like(flat, dtype=torch.bool).scatter(1, flat.topk(2).indices, True)

    assert torch.equal(nm_mask(scores, config.nm), right)
    masks = open_masks(plan)
    Hybrid(given(plan, config, {"a": scores})).start(masks)
    assert torch.equal(masks["a"].keep, right)
    assert not torch.equal(mistaken.reshape(scores.shape), right)
    # The mistake breaks the pattern that hardware reads.
    in_groups = to_matrix(mistaken.reshape(scores.shape)).reshape(-1, 4).sum(dim=1)
    assert int(in_groups.max()) > 2


def test_all_of_them_hold_after_the_real_loop() -> None:
    task = task_of(Net(), options(iterations=3))
    outcome = prune_model(task)
    for name, mask in outcome.masks.layers.items():
        matrix = to_matrix(torch.from_numpy(mask))
        assert int(matrix.reshape(-1, 4).sum(dim=1).max()) <= 2
        rows = len(matrix) // 16
        grid = matrix.reshape(rows, 16, -1, 16).any(dim=3).any(dim=1)
        assert grid.sum(dim=1).tolist() == [outcome.iterations[-1].kept[name]] * rows
