"""Counted work against counting by hand, weight by weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crisp_loop.core.masks import BoolArray
from crisp_loop.networks.registry import build
from crisp_loop.networks.trace import layer_table
from crisp_loop.reproduce.work import reached_inputs, reached_macs


class Net(nn.Module):
    """A residual block, a depthwise layer and a head that sees 2 x 2 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.branch = nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = x + self.norm(self.branch(x))
        x = self.point(self.depthwise(x).relu())
        x = nn.functional.adaptive_avg_pool2d(x, 2)
        return self.head(torch.flatten(x, 1))


def drawn(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, BoolArray]:
    """Masks without some whole output channels, and without single weights elsewhere."""
    rng = np.random.default_rng(seed)
    masks = {}
    for name, shape in shapes.items():
        mask = rng.random(shape) < 0.6
        mask[rng.random(shape[0]) < 0.4] = False
        masks[name] = mask
    return masks


@pytest.mark.parametrize("seed", range(8))
def test_every_multiplication_is_counted_once(seed: int) -> None:
    model = Net()
    masks = drawn({"stem": (8, 3, 3, 3), "branch": (8, 8, 1, 1), "point": (12, 8, 1, 1)}, seed)
    table = layer_table(model, (3, 6, 6))
    stem = {o for o in range(8) if masks["stem"][o].any()}
    branch = {o for o in range(8) if any(masks["branch"][o, i, 0, 0] for i in stem)}
    added = stem | branch
    point = {o for o in range(12) if any(masks["point"][o, i, 0, 0] for i in added)}
    counted = 36 * int(masks["stem"].sum())
    counted += 36 * sum(int(masks["branch"][o, i].sum()) for o in range(8) for i in stem)
    counted += 36 * 9 * len(added)  # depthwise, dense
    counted += 36 * sum(int(masks["point"][o, i].sum()) for o in range(12) for i in added)
    counted += 5 * 4 * len(point)
    before = [parameter.clone() for parameter in model.parameters()]
    assert reached_macs(model, table, masks) == counted
    reached = reached_inputs(model, table, masks)
    assert set(np.flatnonzero(reached["point"])) == added
    heads = {channel // 4 for channel in np.flatnonzero(reached["head"])}
    assert heads == point
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("name", ["digits-resnet", "digits-vgg", "digits-mobilenet", "resnet50"])
def test_without_masks_all_work_is_left(name: str) -> None:
    table = layer_table(name)
    assert reached_macs(build(name), table, {}) == sum(layer.macs for layer in table.layers)


def test_pruned_channels_save_the_next_layer_too() -> None:
    model, table = build("digits-vgg"), layer_table("digits-vgg")
    mask = np.ones((64, 32, 3, 3), np.bool_)
    mask[:48] = False  # of features.7; features.10 reads its 64 channels
    layers = {layer.name: layer for layer in table.layers}
    saved = 0.75 * (layers["features.7"].macs + layers["features.10"].macs)
    whole = sum(layer.macs for layer in table.layers)
    assert reached_macs(model, table, {"features.7": mask}) == whole - saved


def test_networks_with_layer_norms_count_all_inputs() -> None:
    table = layer_table("vit-tiny-cifar")
    assert reached_macs(build("vit-tiny-cifar"), table, {}) == sum(
        layer.macs for layer in table.layers
    )
