"""Slicing a classifier to some classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.networks.head import slice_head
from crisp_loop.networks.registry import build
from crisp_loop.prune.ste import masked_weights


def test_logits_are_the_whole_models_at_the_classes() -> None:
    torch.manual_seed(0)
    model = build("digits-resnet").eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    x, classes = torch.randn(5, 1, 8, 8), [8, 3, 5]
    sliced = slice_head(model, "fc", classes)
    head = sliced.get_submodule("fc")
    assert isinstance(head, nn.Linear)
    assert (head.out_features, tuple(head.weight.shape)) == (3, (3, 128))
    assert torch.allclose(sliced(x), model(x)[:, classes], atol=1e-6)
    assert not sliced.training

    # Remapped labels: training moves the copy alone.
    targets = torch.tensor([classes.index(label) for label in (3, 5, 8, 8, 3)])
    nn.functional.cross_entropy(sliced(x), targets).backward()
    with torch.no_grad():
        for parameter in sliced.parameters():
            assert parameter.grad is not None
            parameter -= parameter.grad
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_linear_model_without_bias_and_a_frozen_head() -> None:
    model = nn.Linear(4, 6, bias=False)
    model.weight.requires_grad_(False)
    sliced = slice_head(model, "", [2])
    assert isinstance(sliced, nn.Linear)
    assert sliced.bias is None
    assert not sliced.weight.requires_grad
    assert torch.equal(sliced.weight, model.weight[2:3])


@pytest.mark.parametrize("classes", [[], [1, 1], [-1], [10]])
def test_classes_that_cannot_be_kept(classes: list[int]) -> None:
    with pytest.raises(CrispLoopError, match="outputs of fc"):
        slice_head(build("digits-resnet"), "fc", classes)


def test_heads_that_cannot_be_sliced() -> None:
    model = build("digits-resnet")
    with pytest.raises(CrispLoopError, match="no layer classifier"):
        slice_head(model, "classifier", [1])
    with pytest.raises(CrispLoopError, match="a Conv2d, not a Linear"):
        slice_head(model, "conv1", [1])
    with masked_weights(model, ["fc"]), pytest.raises(CrispLoopError, match="masked"):
        slice_head(model, "fc", [1])
