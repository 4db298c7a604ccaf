"""Masked weights: straight-through gradients, freezing, and going back to a plain module."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from crisp_loop.prune.batches import TensorBatches
from crisp_loop.prune.ste import freeze, latent_weight, masked_weights, zero_masked
from crisp_loop.prune.training.finetune import Recipe, train
from crisp_loop.prune.training.runtime import Runtime

CPU = Runtime(torch.device("cpu"))


class Small(nn.Module):
    """A convolution, batch norm and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6 * 9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).relu().flatten(1))


def case(seed: int = 0) -> tuple[Small, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return Small(), torch.randn(10, 4, 5, 5), torch.arange(10) % 3, torch.rand(6, 4, 3, 3) > 0.5


@given(seed=st.integers(0, 1000))
def test_gradient_under_the_mask_is_the_dense_gradient(seed: int) -> None:
    model, x, y, keep = case(seed)
    weight = model.conv.weight
    original = weight.detach().clone()
    # Oracle: the gradient of a plain model that holds the masked weights.
    weight.data.masked_fill_(~keep, 0.0)
    model.eval()
    nn.functional.cross_entropy(model(x), y).backward()
    assert weight.grad is not None
    dense = weight.grad.clone()
    model.zero_grad()
    weight.data.copy_(original)
    with masked_weights(model, ["conv"]) as masks:
        masks["conv"].soft.copy_(keep)
        nn.functional.cross_entropy(model(x), y).backward()
        latent = latent_weight(model.conv)
        assert latent is weight
        assert latent.grad is not None
        assert torch.allclose(latent.grad, dense, atol=1e-7)
        # Pruned blocks get none; here whole output channels.
        model.zero_grad()
        masks["conv"].hard[2:4] = False
        nn.functional.cross_entropy(model(x), y).backward()
        assert latent.grad is not None
        assert latent.grad[2:4].eq(0).all()
        assert latent.grad[:2].ne(0).any()


def test_sr_ste_pulls_masked_weights_towards_zero() -> None:
    model, x, y, keep = case()
    model.eval()
    gradients = []
    for decay in (0.0, 0.25):
        with masked_weights(model, ["conv"], decay) as masks:
            masks["conv"].soft.copy_(keep)
            latent = latent_weight(model.conv)
            before = latent.detach().clone()
            (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), latent)
            gradients.append(gradient)
        model.conv.weight.data.copy_(before)
    expected = 0.25 * before.masked_fill(keep, 0.0)
    assert torch.allclose(gradients[1] - gradients[0], expected, atol=1e-6)


def test_masked_weights_learn_and_can_revive() -> None:
    model, x, y, keep = case()
    with masked_weights(model, ["conv"]) as masks:
        before = latent_weight(model.conv).detach().clone()
        masks["conv"].soft.copy_(keep)
        train(model, TensorBatches(x, y, 5, 0), Recipe("t", 2, 0.1, 0.9, 0.0), CPU)
        assert (latent_weight(model.conv).detach() != before)[~keep].any()
        assert model.conv.weight[~keep].eq(0).all()
        masks["conv"].soft.fill_(True)
        assert model.conv.weight[~keep].ne(0).any()


def test_no_step_unzeroes_a_frozen_weight() -> None:
    model, x, y, keep = case()
    with masked_weights(model, ["conv"]) as masks:
        # An optimizer with momentum from before the freeze is the hardest case.
        optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9, weight_decay=0.1)
        for step in range(12):
            if step == 4:
                masks["conv"].soft.copy_(keep)
                freeze(model, masks)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            if step >= 4:
                assert model.conv.weight[~keep].eq(0).all()
                zero_masked(model, masks)
                assert latent_weight(model.conv)[~keep].eq(0).all()
        train(
            model,
            TensorBatches(x, y, 5, 0),
            Recipe("t", 3, 0.5, 0.9, 0.1),
            CPU,
        )
        # The package's own training starts afresh and never moves them even underneath.
        assert latent_weight(model.conv)[~keep].eq(0).all()
    assert model.conv.weight[~keep].eq(0).all()


def test_leaves_a_plain_module() -> None:
    model, _, _, keep = case()
    keys = list(model.state_dict())
    kinds = [type(module) for module in model.modules()]
    weight = model.conv.weight
    with masked_weights(model, ["conv", "head"]) as masks:
        masks["conv"].soft.copy_(keep)
        assert isinstance(model.conv, nn.Conv2d)
    assert sorted(model.state_dict()) == sorted(keys)
    assert [type(module) for module in model.modules()] == kinds
    assert model.conv.weight is weight
    assert weight[~keep].eq(0).all()
    with pytest.raises(RuntimeError, match="stop"), masked_weights(model, ["conv"]):
        raise RuntimeError("stop")
    assert sorted(model.state_dict()) == sorted(keys)
