"""CASS against hand-computed values, and what it must leave untouched."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.networks.registry import build
from crisp_loop.prune.batches import TensorBatches, as_batches
from crisp_loop.prune.saliency import cass
from crisp_loop.prune.ste import masked_weights


class Loader:
    """Samples in the given parts."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, sizes: list[int]) -> None:
        self.parts = list(zip(images.split(sizes), labels.split(sizes), strict=True))

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self):
        return iter(self.parts)


def linear_case() -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Linear(4, 3), torch.randn(7, 4), torch.randint(0, 3, (7,))


def by_hand(model: nn.Linear, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(samples, 3, 4): dL/dw of softmax regression is (softmax - onehot) x."""
    with torch.no_grad():
        error = torch.softmax(model(x), dim=1) - nn.functional.one_hot(y, 3)
        return error[:, :, None] * x[:, None, :]


def test_paper_criterion_on_a_linear_model() -> None:
    model, x, y = linear_case()
    wrapped = nn.Sequential(model)
    found = cass(wrapped, TensorBatches(x, y, 3, 0), ["0"])["0"]
    expected = (by_hand(model, x, y).mean(dim=0) * model.weight).abs()
    assert torch.allclose(found.float(), expected, atol=1e-6)
    assert found.dtype == torch.float64


def test_mean_abs_criterion_on_a_linear_model() -> None:
    model, x, y = linear_case()
    wrapped = nn.Sequential(model)
    found = cass(wrapped, TensorBatches(x, y, 3, 0), ["0"], "mean_abs")["0"]
    expected = by_hand(model, x, y).abs().mean(dim=0) * model.weight.abs()
    assert torch.allclose(found.float(), expected, atol=1e-6)


@pytest.mark.parametrize("criterion", ["paper", "mean_abs"])
def test_does_not_depend_on_the_batches(criterion: str) -> None:
    torch.manual_seed(1)
    model = build("digits-resnet").train()
    x, y = torch.randn(12, 1, 8, 8), torch.randint(0, 10, (12,))
    names = ["layer1.0.conv1", "layer3.0.conv2"]
    whole, *others = [
        cass(model, Loader(x, y, sizes), names, criterion)  # type: ignore[arg-type]
        for sizes in ([12], [1] * 12, [5, 7], [11, 1])
    ]
    for other in others:
        for name in names:
            assert torch.allclose(whole[name], other[name], rtol=1e-3, atol=1e-7)


def test_moves_nothing() -> None:
    torch.manual_seed(2)
    model = build("digits-resnet").train()
    model.get_submodule("bn1").eval()
    model.get_parameter("layer1.0.conv1.weight").requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x, y = torch.randn(8, 1, 8, 8), torch.randint(0, 10, (8,))
    own = torch.Generator().manual_seed(5)
    for batches in (
        TensorBatches(x, y, 3, 0),
        DataLoader(TensorDataset(x, y), batch_size=3, shuffle=True),
        DataLoader(TensorDataset(x, y), batch_size=3, shuffle=True, generator=own),
    ):
        state = torch.random.get_rng_state()
        generator = batches.generator
        own_state = None if generator is None else generator.get_state()
        with torch.no_grad():
            cass(model, batches, ["layer1.0.conv1", "conv1"])
        assert torch.equal(state, torch.random.get_rng_state())
        if generator is not None:
            assert own_state is not None
            assert torch.equal(generator.get_state(), own_state)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert not model.get_submodule("bn1").training
    assert not model.get_parameter("layer1.0.conv1.weight").requires_grad


def test_masked_weights_are_scored_by_their_latent_value() -> None:
    model, x, y = linear_case()
    wrapped = nn.Sequential(model)
    dense = model.weight.detach().clone()
    keep = torch.rand(3, 4) > 0.5
    with masked_weights(wrapped, ["0"]) as masks:
        masks["0"].nm.copy_(keep)
        found = cass(wrapped, TensorBatches(x, y, 3, 0), ["0"])["0"]
    # The gradient is that of the masked model, the factor w the weight under the mask.
    expected = (by_hand(model, x, y).mean(dim=0) * dense).abs()
    assert torch.allclose(found.float(), expected, atol=1e-6)
    assert found[~keep].gt(0).all()


def test_nan_gradients_are_one_sentence() -> None:
    model, x, y = linear_case()
    x[0, 0] = float("nan")
    with pytest.raises(CrispLoopError, match="layer 0 are NaN or infinite"):
        cass(nn.Sequential(model), TensorBatches(x, y, 3, 0), ["0"])


def test_batches_accepts_loaders_and_refuses_iterators() -> None:
    x, y = torch.randn(7, 4), torch.zeros(7, dtype=torch.int64)
    sizes = [len(labels) for _, labels in as_batches((x, y), 3, 0)]
    assert sizes == [3, 2, 2]
    loader = DataLoader(TensorDataset(x, y), batch_size=4)
    assert as_batches(loader, 1, 0) is loader  # type: ignore[arg-type]
    with pytest.raises(CrispLoopError, match="gone through repeatedly"):
        as_batches(iter([(x, y)]), 3, 0)  # type: ignore[arg-type]
    with pytest.raises(CrispLoopError, match="no samples"):
        as_batches((x[:0], y[:0]), 3, 0)
    with pytest.raises(CrispLoopError, match="7 inputs but 3 labels"):
        as_batches((x, y[:3]), 3, 0)
