"""Every criterion against hand-computed values, and what scoring must leave untouched."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.networks.registry import build
from crisp_loop.prune.batches import TensorBatches, as_batches
from crisp_loop.prune.config import CriterionName
from crisp_loop.prune.scores.criteria import CRITERIA
from crisp_loop.prune.scores.saliency import score_weights
from crisp_loop.prune.ste import masked_weights

NAMES: tuple[CriterionName, ...] = get_args(CriterionName)


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
    found = score_weights(wrapped, TensorBatches(x, y, 3, 0), ["0"])["0"]
    expected = (by_hand(model, x, y).mean(dim=0) * model.weight).abs()
    assert torch.allclose(found.float(), expected, atol=1e-6)
    assert found.dtype == torch.float64


def test_mean_abs_criterion_on_a_linear_model() -> None:
    model, x, y = linear_case()
    wrapped = nn.Sequential(model)
    found = score_weights(wrapped, TensorBatches(x, y, 3, 0), ["0"], "mean_abs")["0"]
    expected = by_hand(model, x, y).abs().mean(dim=0) * model.weight.abs()
    assert torch.allclose(found.float(), expected, atol=1e-6)


def test_magnitude_is_the_absolute_weight() -> None:
    model, x, y = linear_case()
    found = score_weights(nn.Sequential(model), TensorBatches(x, y, 3, 0), ["0"], "magnitude")["0"]
    assert torch.equal(found, model.weight.detach().double().abs())


def test_snip_is_cass_over_its_sum_where_nothing_is_masked() -> None:
    model, x, y = linear_case()
    found = score_weights(nn.Sequential(model), TensorBatches(x, y, 3, 0), ["0"], "snip")["0"]
    expected = (by_hand(model, x, y).mean(dim=0) * model.weight).abs()
    assert torch.allclose(found.float(), expected / expected.sum(), atol=1e-6)
    assert float(found.sum()) == pytest.approx(1)


def test_snip_takes_gradients_at_the_dense_weights() -> None:
    model, x, y = linear_case()
    wrapped = nn.Sequential(model)
    dense = score_weights(wrapped, TensorBatches(x, y, 3, 0), ["0"], "snip")["0"]
    masked_cass = score_weights(wrapped, TensorBatches(x, y, 3, 0), ["0"])["0"]
    nm, blocks = torch.rand(3, 4) > 0.5, torch.tensor([[True], [True], [False]]).expand(3, 4)
    with masked_weights(wrapped, ["0"]) as masks:
        masks["0"].soft.copy_(nm)
        found = score_weights(wrapped, TensorBatches(x, y, 3, 0), ["0"], "snip")["0"]
        cass = score_weights(wrapped, TensorBatches(x, y, 3, 0), ["0"])["0"]
        assert torch.equal(masks["0"].soft, nm)
        masks["0"].hard.copy_(blocks)
        pruned = score_weights(wrapped, TensorBatches(x, y, 3, 0), ["0"], "snip")["0"]
    assert torch.allclose(found, dense)
    assert not torch.allclose(cass, masked_cass)
    assert pruned[2].eq(0).all()  # a pruned block gets no gradient and stays pruned
    assert pruned[:2].gt(0).all()


def test_fisher_on_a_linear_model() -> None:
    model, x, y = linear_case()
    found = score_weights(nn.Sequential(model), TensorBatches(x, y, 3, 0), ["0"], "fisher")["0"]
    expected = 0.5 * by_hand(model, x, y).square().mean(dim=0) * model.weight.square()
    assert torch.allclose(found.float(), expected, atol=1e-7)


def test_grasp_on_a_linear_model() -> None:
    """H V of softmax regression is mean((diag(p) - p p') V x x')."""
    model, x, y = linear_case()
    found = score_weights(nn.Sequential(model), TensorBatches(x, y, 3, 0), ["0"], "grasp")["0"]
    with torch.no_grad():
        p = torch.softmax(model(x), dim=1)
        gradient = by_hand(model, x, y).mean(dim=0)
        curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        product = torch.einsum("iab,bc,ic,id->ad", curvature, gradient, x, x) / len(x)
        kept = model.weight * product
    assert kept.min() < 0 < kept.max()
    assert torch.allclose(found.float(), kept - kept.min(), atol=1e-6)


def test_grasp_keeps_what_carries_the_gradient_norm() -> None:
    """Removing a weight moves |g|^2 by about -2 w * Hg: the higher the score, the more it falls."""
    torch.manual_seed(4)
    model = nn.Linear(4, 3).double()
    model.weight.data *= 1e-4  # so that the first order is all there is
    x, y = torch.randn(9, 4).double(), torch.randint(0, 3, (9,))
    wrapped = nn.Sequential(model)
    found = score_weights(wrapped, TensorBatches(x, y, 9, 0), ["0"], "grasp")["0"].flatten()

    def squared_norm() -> float:
        return float(by_hand(model, x, y).mean(dim=0).square().sum())

    falls = []
    before = squared_norm()
    for place in range(model.weight.numel()):
        weight = float(model.weight.data.flatten()[place])
        model.weight.data.view(-1)[place] = 0.0
        falls.append(before - squared_norm())
        model.weight.data.view(-1)[place] = weight
    assert torch.tensor(falls).argsort().equal(found.argsort())
    spread = torch.tensor(falls, dtype=torch.float64) - min(falls)
    assert torch.allclose(spread, 2 * found, rtol=1e-2, atol=1e-10)


def test_synflow_on_two_layers_with_batch_norm() -> None:
    torch.manual_seed(5)
    norm = nn.BatchNorm1d(3)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        assert tensor is not None
        tensor.normal_()
    assert norm.running_var is not None
    norm.running_var.uniform_(0.5, 2)
    first, last = nn.Linear(4, 3), nn.Linear(3, 2)
    model = nn.Sequential(first, norm, nn.ReLU(), last)
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 0, 1, 1])
    found = score_weights(model, TensorBatches(x, y, 3, 0), ["0", "3"], "synflow")
    w1, w2 = first.weight.detach().double().abs(), last.weight.detach().double().abs()
    b1 = first.bias.detach().double().abs()
    scale = norm.weight.detach().double().abs() / (norm.running_var.double() + norm.eps).sqrt()
    hidden = scale * (w1.sum(dim=1) + b1) + norm.bias.detach().double().abs()
    assert torch.allclose(found["0"], (w2.sum(dim=0) * scale)[:, None] * w1)
    assert torch.allclose(found["3"], w2 * hidden)


def test_synflow_is_conserved_and_takes_no_data() -> None:
    """Tanaka et al., Theorem 1: without biases every layer's scores have the same sum."""
    torch.manual_seed(6)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3, bias=False)
    )
    x, y = torch.full((2, 4, 4, 4), float("nan")), torch.tensor([0, 2])
    found = score_weights(model, TensorBatches(x, y, 2, 0), ["0", "3"], "synflow")
    assert float(found["0"].sum()) == pytest.approx(float(found["3"].sum()))
    assert found["0"].gt(0).all()


def test_random_follows_its_seed_alone() -> None:
    model, x, y = linear_case()
    first, again, other = [
        score_weights(nn.Sequential(model), TensorBatches(x, y, 3, n), ["0"], "random", seed=seed)
        for n, seed in enumerate((1, 1, 2))
    ]
    assert torch.equal(first["0"], again["0"])
    assert not torch.equal(first["0"], other["0"])


def test_every_criterion_has_a_formula_and_bigger_means_keep() -> None:
    assert tuple(CRITERIA) == NAMES
    torch.manual_seed(7)
    model = build("digits-resnet")
    x, y = torch.randn(6, 1, 8, 8), torch.randint(0, 10, (6,))
    names = ["layer1.0.conv1", "layer2.0.conv2", "fc"]
    for criterion in NAMES:
        found = score_weights(model, TensorBatches(x, y, 6, 0), names, criterion)
        for name in names:
            assert found[name].dtype == torch.float64
            assert found[name].shape == model.get_parameter(f"{name}.weight").shape
            assert found[name].ge(0).all()
            assert found[name].gt(0).float().mean() > 0.9
            assert not found[name].requires_grad


@pytest.mark.parametrize("criterion", NAMES)
def test_does_not_depend_on_the_batches(criterion: CriterionName) -> None:
    torch.manual_seed(1)
    model = build("digits-resnet").train()
    x, y = torch.randn(12, 1, 8, 8), torch.randint(0, 10, (12,))
    names = ["layer1.0.conv1", "layer3.0.conv2"]
    whole, *others = [
        score_weights(model, Loader(x, y, sizes), names, criterion)
        for sizes in ([12], [1] * 12, [5, 7], [11, 1])
    ]
    for other in others:
        for name in names:
            scale = float(whole[name].max())
            assert torch.allclose(whole[name], other[name], rtol=1e-3, atol=1e-5 * scale)


def test_decay_of_masked_weights_is_no_part_of_a_score() -> None:
    model, x, y = linear_case()
    wrapped = nn.Sequential(model)
    weight = model.weight.detach().clone()
    scores = []
    for decay, sizes in ((0.0, [7]), (0.5, [7]), (0.5, [1] * 7)):
        with masked_weights(wrapped, ["0"], decay) as masks:
            masks["0"].soft[:, ::2] = False
            scores.append(score_weights(wrapped, Loader(x, y, sizes), ["0"])["0"])
            assert masks["0"].decay == decay
        model.weight.data.copy_(weight)
    assert torch.allclose(scores[0], scores[1])
    assert torch.allclose(scores[0], scores[2], atol=1e-7)


@pytest.mark.parametrize("criterion", NAMES)
def test_moves_nothing(criterion: CriterionName) -> None:
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
            score_weights(model, batches, ["layer1.0.conv1", "conv1"], criterion)
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
        masks["0"].soft.copy_(keep)
        found = score_weights(wrapped, TensorBatches(x, y, 3, 0), ["0"])["0"]
    # The gradient is that of the masked model, the factor w the weight under the mask.
    expected = (by_hand(model, x, y).mean(dim=0) * dense).abs()
    assert torch.allclose(found.float(), expected, atol=1e-6)
    assert found[~keep].gt(0).all()


@pytest.mark.parametrize("criterion", ["paper", "mean_abs", "snip", "fisher", "grasp"])
def test_nan_gradients_are_one_sentence(criterion: CriterionName) -> None:
    model, x, y = linear_case()
    x[0, 0] = float("nan")
    with pytest.raises(CrispLoopError, match="gradients of layer 0 are NaN or infinite"):
        score_weights(nn.Sequential(model), TensorBatches(x, y, 3, 0), ["0"], criterion)


@pytest.mark.parametrize("criterion", [name for name in NAMES if name != "random"])
def test_nan_weights_are_one_sentence(criterion: CriterionName) -> None:
    model, x, y = linear_case()
    model.weight.data[1, 2] = float("nan")
    with pytest.raises(CrispLoopError, match="weights of layer 0 are NaN or infinite"):
        score_weights(nn.Sequential(model), TensorBatches(x, y, 3, 0), ["0"], criterion)


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
