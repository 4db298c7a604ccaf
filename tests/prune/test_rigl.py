"""RigL against its formulas, weight by weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_cases import equal_states, net, options, state_of, task_of
from torch import Tensor, nn

from crisp_loop.core.layers import Layer
from crisp_loop.prune.batches import Batches
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.ste import WeightMask
from crisp_loop.prune.training.prune import prune_model
from crisp_loop.prune.training.rigl import erdos_renyi_kernel, exchanged

SIDES = st.integers(1, 12)
LAYERS = st.lists(st.tuples(SIDES, SIDES, st.integers(0, 3), st.integers(1, 3)), min_size=1)


def layers_of(shapes: list[tuple[int, int, int, int]]) -> list[Layer]:
    """A kernel of height 0 stands for a linear layer."""
    return [
        Layer(f"layer{i}", "conv", inputs, outputs, (height, width))
        if height
        else Layer(f"layer{i}", "linear", inputs, outputs)
        for i, (outputs, inputs, height, width) in enumerate(shapes)
    ]


@given(shapes=LAYERS, share=st.floats(0, 1))
@settings(max_examples=200)
def test_erdos_renyi_kernel_shares_out_every_weight(
    shapes: list[tuple[int, int, int, int]], share: float
) -> None:
    layers = layers_of(shapes)
    zeros = round(share * sum(layer.weights - 1 for layer in layers))
    left = sum(layer.weights for layer in layers) - zeros
    counts = erdos_renyi_kernel(layers, zeros)
    assert sum(counts.values()) == left
    assert all(1 <= counts[layer.name] <= layer.weights for layer in layers)

    # Oracle: the one scale at which densities of at most 1 add up, found by halving.
    def wanted(scale: float) -> list[float]:
        return [
            min(
                float(layer.weights),
                scale
                * (
                    layer.in_channels
                    + layer.out_channels
                    + (sum(layer.kernel) if layer.kind == "conv" else 0)
                ),
            )
            for layer in layers
        ]

    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(wanted(middle)) < left else (low, middle)
    exact = wanted(high)
    if min(exact) >= 1:
        for layer, value in zip(layers, exact, strict=True):
            assert abs(counts[layer.name] - value) <= 1 + 1e-6


def test_small_layers_stay_denser() -> None:
    """By hand: as many connections as (in + out + kh + kw), times one scale."""
    small, large = Layer("small", "conv", 8, 8, (3, 3)), Layer("large", "conv", 32, 64, (3, 3))
    counts = erdos_renyi_kernel([small, large], 576 + 18432 - 620)
    # 22 and 102 connections share 620 weights: 5 each.
    assert counts == {"small": 110, "large": 510}
    # In proportion the small one would get 887.
    assert erdos_renyi_kernel([small, large], 576 + 18432 - 5000)["small"] == 576


@given(
    seed=st.integers(0, 2**31 - 1),
    size=st.integers(1, 40),
    values=st.sampled_from([2, 1000]),
    density=st.floats(0, 1),
    share=st.floats(0, 1),
)
def test_the_smallest_go_and_the_steepest_come(
    seed: int, size: int, values: int, density: float, share: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(size, generator=generator) < density
    weight = torch.randint(-values, values, (size,), generator=generator).float() * mask
    gradient = torch.randint(-values, values, (size,), generator=generator).float()
    kept = [place for place in range(size) if mask[place]]
    count = min(int(share * len(kept)), size - len(kept))
    kept.sort(key=lambda place: (-abs(float(weight[place])), place))
    stay = kept[: len(kept) - count]
    others = [place for place in range(size) if place not in stay]
    others.sort(key=lambda place: (-abs(float(gradient[place])), place))
    found = exchanged(weight, gradient, mask, share)
    assert torch.nonzero(found).flatten().tolist() == sorted(stay + others[:count])
    assert int(found.sum()) == int(mask.sum())


class Spied:
    """Batches that let ``look`` see what every step has left behind."""

    def __init__(self, batches: Batches, look: Callable[[], None]) -> None:
        self._batches = batches
        self._look = look

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self._batches:
            self._look()
            yield batch


def masks_of(model: nn.Module) -> dict[str, WeightMask]:
    parts = model.named_modules()
    return {name.split(".")[0]: part for name, part in parts if isinstance(part, WeightMask)}


def rigl_options(seed: int = 0) -> PruneConfig:
    return options(
        method="unstructured", mode="rigl", final_epochs=3, seed=seed, momentum=0.9, sparsity=0.8
    )


def test_weights_grow_from_zero_and_masked_ones_stay_there() -> None:
    model = net()
    plain = task_of(model, rigl_options())
    seen: list[dict[str, Tensor]] = []
    grown = 0

    def look() -> None:
        nonlocal grown
        now = {name: mask.keep.clone() for name, mask in masks_of(model).items()}
        for name, keep in now.items():
            weight = model.get_parameter(f"{name}.parametrizations.weight.original")
            assert weight[~keep].eq(0).all()
            if seen:
                fresh = keep & ~seen[-1][name]
                assert weight[fresh].eq(0).all()
                grown += int(fresh.sum())
        seen.append(now)

    outcome = prune_model(replace(plain, batches=Spied(plain.batches, look)))
    steps = 3 * (2 * 2 + 3)
    assert len(seen) == steps
    assert grown > 100
    zeros = round(0.8 * sum(layer.weights for layer in plain.plan.prunable))
    counts = erdos_renyi_kernel(plain.plan.prunable, zeros)
    for masks in seen:
        assert {name: int(keep.sum()) for name, keep in masks.items()} == counts
    # Every second step but after three quarters of them, and never the first.
    changes = [
        number
        for number in range(1, steps)
        if any(not torch.equal(seen[number][name], seen[number - 1][name]) for name in counts)
    ]
    assert changes == list(range(2, 16, 2))
    for name, mask in outcome.masks.layers.items():
        assert mask.sum() == counts[name]
        assert model.get_parameter(f"{name}.weight")[torch.from_numpy(~mask)].eq(0).all()


def test_the_same_seed_gives_the_same() -> None:
    models = [net(), net(), net()]
    masks = [
        prune_model(task_of(model, rigl_options(seed))).masks.layers
        for model, seed in zip(models, (0, 0, 1), strict=True)
    ]
    assert equal_states(state_of(models[0]), state_of(models[1]))
    assert all((masks[0][name] == masks[1][name]).all() for name in masks[0])
    assert any((masks[0][name] != masks[2][name]).any() for name in masks[0])


def test_other_methods_have_no_rigl() -> None:
    with pytest.raises(ValueError, match="expected method: unstructured"):
        options(method="crisp", mode="rigl")
