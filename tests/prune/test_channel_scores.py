"""Channel scores against the sets that OCAP and CAP'NN are described with, and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.networks.registry import build
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.batches import Batches, TensorBatches
from crisp_loop.prune.scores.channel import capnn, filter_saliency, firing_rates, ocap
from crisp_loop.prune.scores.saliency import score_weights


class Parts:
    """Samples in order, in batches of the given size."""

    def __init__(self, images: Tensor, labels: Tensor, size: int) -> None:
        self.parts = list(zip(images.split(size), labels.split(size), strict=True))

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.parts)


def identity(channels: int) -> nn.Sequential:
    """A 1x1 convolution that hands on its input, so feature maps are what a test says."""
    layer = nn.Conv2d(channels, channels, 1, bias=False)
    nn.init.dirac_(layer.weight)
    return nn.Sequential(layer, nn.ReLU(inplace=True))


@st.composite
def maps_and_labels(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Small whole numbers, so that ties are frequent and sums exact: (samples, S, 1, 2)."""
    samples, channels = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    values = st.lists(
        st.integers(-3, 3), min_size=samples * channels * 2, max_size=samples * channels * 2
    )
    labels = st.lists(st.sampled_from([2, 5, 9]), min_size=samples, max_size=samples)
    maps = torch.tensor(draw(values), dtype=torch.float32).reshape(samples, channels, 1, 2)
    return maps, torch.tensor(draw(labels))


def ocap_by_sets(maps: Tensor, ratio: Fraction, authors: bool) -> set[int]:
    """Channels that some image keeps; written with sets and exact numbers."""
    kept: set[int] = set()
    for image in maps.flatten(2).tolist():
        strength = [
            sum(Fraction(int(v) if v > 0 else int(v) * Fraction(1, 2)) ** 2 for v in channel)
            for channel in image
        ]
        size = len(strength)
        ascending = sorted(strength)
        if authors:
            # Their code: a threshold at this place of the sorted strengths, strictly beaten.
            place = min(int(size * (1 - ratio)), size - 1)
            kept |= {c for c in range(size) if strength[c] > ascending[place]}
        else:
            # The strongest floor(r * S), but for those as strong as the strongest not kept.
            count = int(ratio * size)
            out = ascending[: size - count]
            kept |= {c for c in range(size) if not out or strength[c] > out[-1]}
            if len(set(strength)) == size:
                ranked = sorted(range(size), key=lambda c: -strength[c])
                assert set(ranked[:count]) <= kept
    return kept


@settings(max_examples=150, deadline=None)
@given(maps_and_labels(), st.fractions(0, 1, max_denominator=12))
def test_thresholding_the_score_is_ocap(data: tuple[Tensor, Tensor], ratio: Fraction) -> None:
    maps, labels = data
    model = identity(maps.shape[1])
    score = ocap(model, Parts(maps, labels, 4), ["0"], negative_slope=0.5)["0"]
    assert score.dtype == torch.float64
    assert score.shape == (maps.shape[1],)
    assert all(0 <= value < 1 for value in score.tolist())
    threshold = float(1 - ratio)
    kept = {c for c, value in enumerate(score.tolist()) if value >= threshold}
    assert kept == ocap_by_sets(maps, ratio, authors=False)
    strictly = {c for c, value in enumerate(score.tolist()) if value > threshold}
    assert strictly == ocap_by_sets(maps, ratio, authors=True)


def test_ocap_by_hand() -> None:
    """Two images of four channels; the batch norm's negative values count 0.14 of them."""
    model = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    nn.init.dirac_(model[0].weight)  # type: ignore[arg-type]
    model[1].bias.data = torch.tensor([0.0, 0.0, 0.0, -10.0])  # type: ignore[union-attr]
    maps = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 5.0, 0.0]])[:, :, None, None]
    score = ocap(model, Parts(maps, torch.tensor([1, 1]), 2), ["0"])["0"]
    # Strengths 3, 1, 2, 1.4 and 0, 5, 5, 1.4: beaten channels 3, 0, 2, 1 and 0, 2, 2, 1.
    assert score.tolist() == [0.75, 0.5, 0.5, 0.25]


def test_ocap_takes_the_first_images_of_each_class() -> None:
    maps = torch.eye(6)[:, :, None, None]
    labels = torch.tensor([7, 7, 7, 3, 3, 8])
    batches = Parts(maps, labels, 4)
    score = ocap(identity(6), batches, ["0"], images=2)["0"]
    assert score.gt(0).tolist() == [True, True, False, True, True, True]
    assert ocap(identity(6), batches, ["0"], images=3)["0"].gt(0).all()
    with pytest.raises(CrispLoopError, match="at least one image"):
        ocap(identity(6), batches, ["0"], images=0)


@settings(max_examples=150, deadline=None)
@given(
    maps_and_labels(),
    st.fractions(0, 1, max_denominator=8),
    st.integers(1, 6),
    st.lists(st.integers(0, 5), min_size=3, max_size=3),
)
def test_thresholding_the_score_is_capnn(
    data: tuple[Tensor, Tensor], threshold: Fraction, size: int, weights: list[int]
) -> None:
    maps, labels = data
    model = identity(maps.shape[1])
    batches = Parts(maps, labels, size)
    classes = sorted(set(labels.tolist()))
    rate = {
        (unit, k): Fraction(
            int(maps[labels == k][:, unit].gt(0).sum()), 2 * int((labels == k).sum())
        )
        for unit in range(maps.shape[1])
        for k in classes
    }
    found, rates = firing_rates(model, batches, ["0"])
    assert found == classes
    assert all(
        rates["0"][unit, i].item() == float(rate[unit, k])
        for unit in range(maps.shape[1])
        for i, k in enumerate(classes)
    )
    units = set(range(maps.shape[1]))
    score = capnn(model, batches, ["0"])["0"].tolist()
    candidates = [{u for u in units if rate[u, k] < threshold} for k in classes]
    assert {u for u in units if score[u] < float(threshold)} == set.intersection(*candidates)

    usage = {k: weights[i] for i, k in enumerate(classes)}
    total = sum(usage.values())
    if not total:
        return
    score = capnn(model, batches, ["0"], usage)["0"].tolist()
    for unit in units:
        exact = sum(usage[k] * rate[unit, k] for k in classes) / Fraction(total)
        assert score[unit] == pytest.approx(float(exact), abs=1e-12)
        assert 0 <= score[unit] <= 1


def test_capnn_usage() -> None:
    maps = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])[:, :, None, None]
    batches, labels = Parts, torch.tensor([4, 6, 6])
    data = batches(maps, labels, 2)
    model = identity(3)
    assert capnn(model, data, ["0"])["0"].tolist() == [1.0, 0.5, 1.0]
    assert capnn(model, data, ["0"], {4: 1, 6: 3})["0"].tolist() == [0.25, 0.375, 1.0]
    assert capnn(model, data, ["0"], {4: 100, 6: 300})["0"].tolist() == [0.25, 0.375, 1.0]
    assert capnn(model, data, ["0"], {6: 1})["0"].tolist() == [0.0, 0.5, 1.0]
    for usage, says in [
        ({4: 1.0, 5: 1.0}, "class 5"),
        ({4: -1.0, 6: 2.0}, "non-negative"),
        ({4: float("nan")}, "non-negative"),
        ({}, "above 0"),
        ({4: 0.0}, "above 0"),
    ]:
        with pytest.raises(CrispLoopError, match=says) as caught:
            capnn(model, data, ["0"], usage)
        assert str(caught.value).endswith(".")


def test_nan_is_refused_and_no_samples_are() -> None:
    maps = torch.tensor([[[[float("nan")]], [[1.0]]]])
    for score in (ocap, capnn):
        with pytest.raises(CrispLoopError, match="NaN"):
            score(identity(2), Parts(maps, torch.tensor([0]), 1), ["0"])
        with pytest.raises(CrispLoopError, match="no samples"):
            score(identity(2), DataLoader(TensorDataset(maps[:0], maps[:0])), ["0"])


@pytest.mark.parametrize("score", [ocap, capnn])
@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("resnet20", (3, 32, 32)),
        ("digits-resnet", (1, 8, 8)),
        ("vit-tiny-cifar", (3, 32, 32)),
        ("mobilenetv2", (3, 32, 32)),
    ],
)
def test_any_network_any_batches(score, network: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = build(network, 4)
    layers = layer_table(model, shape).layers
    names = [layer.name for layer in layers]
    images, labels = torch.randn(5, *shape), torch.tensor([0, 2, 2, 0, 2])
    state = {key: value.clone() for key, value in model.state_dict().items()}
    whole = score(model, Parts(images, labels, 5), names)
    parts = score(model, Parts(images, labels, 2), names)
    assert list(whole) == names
    for layer in layers:
        assert whole[layer.name].shape == (layer.out_channels,)
        assert whole[layer.name].dtype == torch.float64
        assert whole[layer.name].ge(0).all()
        # The network's own float32 sums may differ at values next to 0.
        assert torch.allclose(whole[layer.name], parts[layer.name], atol=0.01)
        if score is ocap:
            assert torch.equal(whole[layer.name], parts[layer.name])
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("score", [ocap, capnn])
def test_generators_stay(score) -> None:
    torch.manual_seed(0)
    model = identity(3)
    data = TensorDataset(torch.randn(9, 3, 2, 2), torch.arange(9) % 3)
    shuffled = TensorBatches(*data.tensors, batch_size=4, seed=0)
    loaders: list[Batches] = [shuffled, DataLoader(data, batch_size=4, shuffle=True)]
    for batches in loaders:
        before = torch.random.get_rng_state(), shuffled.generator.get_state()
        first = score(model, batches, ["0"])["0"]
        assert torch.equal(torch.random.get_rng_state(), before[0])
        assert torch.equal(shuffled.generator.get_state(), before[1])
        assert torch.equal(score(model, batches, ["0"])["0"], first)


def test_filter_saliency_is_the_l1_norm_of_filters() -> None:
    torch.manual_seed(0)
    model = build("digits-resnet")
    names = ["conv1", "layer2.0.conv1", "fc"]
    data = Parts(torch.randn(2, 1, 8, 8), torch.tensor([0, 1]), 2)
    found = filter_saliency(score_weights(model, data, names, "magnitude"))
    for name in names:
        weight = model.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        assert found[name].dtype == torch.float64
        for channel, score in enumerate(found[name].tolist()):
            assert score == pytest.approx(sum(abs(w) for w in weight[channel].flatten().tolist()))
