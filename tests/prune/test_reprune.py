"""Pruning again for other classes: what starts from where, and what the report counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.masks import Masks, load_masks
from crisp_loop.core.pattern import NM
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.reprune import compare, merged, reprune
from crisp_loop.prune.run import prune_network

QUICK = PruneConfig(
    train_epochs=2,
    iterations=1,
    ste_epochs=0,
    iteration_epochs=0,
    final_epochs=0,
    samples_per_class=8,
    upper_bound=False,
)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "earlier"
    config = QUICK.model_copy(update={"final_epochs": 1})
    prune_network("digits-resnet", "digits", [1, 4, 7], config, run)
    return run


def masks(**layers: np.ndarray) -> Masks:
    return Masks(model="m", nm=NM(2, 4), block=16, layers=layers)


def test_kept_weights_go_on_and_pruned_ones_return() -> None:
    personalised, dense = nn.Linear(4, 2), nn.Linear(4, 2)
    keep = np.array([[True, False, True, False], [False, False, True, True]])
    model = nn.Sequential(personalised)
    state = merged(model, nn.Sequential(dense), masks(**{"0": keep}))
    for row in range(2):
        for column in range(4):
            source = personalised if keep[row, column] else dense
            assert state["0.weight"][row, column] == source.weight[row, column]
    assert torch.equal(state["0.bias"], personalised.bias)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_report_counts_weight_by_weight(pairs: list[tuple[bool, bool]]) -> None:
    before, now = (np.array(column).reshape(1, -1) for column in zip(*pairs, strict=True))
    (change,) = compare(masks(layer=before), masks(layer=now))
    assert change.weights == len(pairs)
    assert change.kept == pairs.count((True, True))
    assert change.lost == pairs.count((True, False))
    assert change.regrown == pairs.count((False, True))
    ones = sum(a for a, _ in pairs) * sum(b for _, b in pairs)
    assert change.kept_by_chance == pytest.approx(ones / len(pairs))


def test_a_layer_without_a_mask_is_dense() -> None:
    keep = np.array([[True, False]])
    (lost,) = compare(masks(), masks(layer=keep))
    (regrown,) = compare(masks(layer=keep), masks())
    assert (lost.kept, lost.lost, lost.regrown) == (1, 1, 0)
    assert (regrown.kept, regrown.lost, regrown.regrown) == (1, 0, 1)


def test_without_training_the_start_shows_in_the_weights(earlier: Path, tmp_path: Path) -> None:
    """No epochs: a kept weight is what it started as."""
    options = {"final_epochs": 0}
    old = load_masks(earlier / "prune/masks.safetensors")
    dense = load_file(earlier / "prune/dense.safetensors")
    pruned = load_file(earlier / "prune/weights.safetensors")
    for start in ("personalised", "dense"):
        out = tmp_path / start
        report, summary = reprune(earlier, [2, 4], out, start=start, options=options)
        new = load_masks(out / "prune/masks.safetensors")
        weights = load_file(out / "prune/weights.safetensors")
        for name, mask in new.layers.items():
            key = f"{name}.weight"
            first = dense[key]
            if start == "personalised":
                first = torch.where(torch.from_numpy(old.layers[name]), pruned[key], dense[key])
            assert torch.equal(weights[key], first * torch.from_numpy(mask))
        assert report.total.kept + report.total.lost == sum(m.sum() for m in old.layers.values())
        assert report.total.kept + report.total.regrown == sum(m.sum() for m in new.layers.values())
        assert report.after == summary.pruned
        assert summary.user_classes == (2, 4)


def test_for_the_same_classes_more_is_kept_than_by_chance(earlier: Path, tmp_path: Path) -> None:
    report, _ = reprune(earlier, [1, 4, 7], tmp_path / "again")
    assert report.total.kept > 2 * report.total.kept_by_chance


def test_a_second_change_still_finds_the_dense_network(earlier: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    reprune(earlier, [2, 4], first)
    report, _ = reprune(first, [0, 3], second)
    assert report.dense_weights == str((earlier / "prune/dense.safetensors").resolve())
    assert (report.classes_before, report.classes_now) == ((2, 4), (0, 3))


def test_what_cannot_be_done_is_said(earlier: Path, tmp_path: Path) -> None:
    with pytest.raises(CrispLoopError, match="holds the earlier run; expected another directory"):
        reprune(earlier, [2], earlier)
    with pytest.raises(CrispLoopError, match="no such summary of a pruning"):
        reprune(tmp_path, [2], tmp_path / "new")
    with pytest.raises(CrispLoopError, match="12 cannot be used; the class ids of digits are 0"):
        reprune(earlier, [12], tmp_path / "new")
    with pytest.raises(CrispLoopError, match=r"2:4 alone prunes 0\.5"):
        reprune(earlier, [2], tmp_path / "new", options={"sparsity": 0.2})
    assert not (tmp_path / "new").exists()
