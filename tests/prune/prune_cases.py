"""A network with every kind of layer, samples that it can learn, and tasks on them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from crisp_loop.core.layers import Layer
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.batches import TensorBatches
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.methods.base import Setting
from crisp_loop.prune.plan import Form, LayerPlan, Plan, plan_layers
from crisp_loop.prune.scores.products import Product, Saliency
from crisp_loop.prune.ste import WeightMask
from crisp_loop.prune.training.runtime import runtime_of
from crisp_loop.prune.training.task import Task

T = TypeVar("T")

SHORT: dict[str, Any] = {
    "sparsity": 0.7, "iterations": 2, "ste_epochs": 1, "iteration_epochs": 1, "final_epochs": 1,
    "batch_size": 16, "rigl_every": 2,
}  # fmt: skip


class Net(nn.Module):
    """Stem, 3 x 3, depthwise, 1 x 1 and head; the grids of 16 x 16 blocks are 2 x 9 and 3 x 2."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.wide = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False)
        self.point = nn.Conv2d(32, 48, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (16, 32, 32, 48))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        layers = (self.stem, self.wide, self.depthwise, self.point)
        for layer, norm in zip(layers, self.norms, strict=True):
            x = norm(layer(x)).relu()
        return self.head(self.dropout(x.mean(dim=(2, 3))))


def net(seed: int = 0, dropout: float = 0.0) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net(dropout)


def samples(count: int = 48, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images 3 x 8 x 8 whose brightest channel is their class."""
    images = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % 3
    images[torch.arange(count), labels] += 1.0
    return images, labels


def options(**changes: Any) -> PruneConfig:
    """:data:`SHORT` with ``changes``."""
    given = SHORT | changes
    if given.get("method") in ("nm", "dense"):
        given.pop("sparsity")
    return PruneConfig.model_validate(given)


def task_of(model: nn.Module, config: PruneConfig, **changes: Any) -> Task:
    plan = plan_layers(layer_table(model, (3, 8, 8)), config)
    batches = TensorBatches(*samples(), config.batch_size, config.seed)
    return Task(model, batches, plan, config, runtime_of(model, config), "net", **changes)


@dataclass(frozen=True)
class Given(Setting):
    """A setting whose scores are given."""

    scores: Mapping[str, Tensor]
    factored: bool = False
    """Hand them out as products of a gradient and a weight, as the criterion ``paper`` does."""

    def factored_saliency(self) -> dict[str, Saliency]:
        return {
            name: Product(score * -2, torch.full_like(score, 0.5, dtype=torch.float32))
            if self.factored
            else score.clone()
            for name, score in self.scores.items()
        }


def given(
    plan: Plan, config: PruneConfig, scores: Mapping[str, Tensor], factored: bool = False
) -> Given:
    batches = TensorBatches(*samples(), 16, 0)
    return Given(nn.Identity(), batches, plan, config, scores, factored)


def weight_shape(layer: Layer) -> tuple[int, ...]:
    kernel = layer.kernel if layer.kind == "conv" else ()
    return (layer.out_channels, layer.in_channels // layer.groups, *kernel)


def open_masks(plan: Plan) -> dict[str, WeightMask]:
    return {layer.name: WeightMask(torch.empty(weight_shape(layer))) for layer in plan.prunable}


def drawn(plan: Plan, seed: int, values: int = 2**30) -> dict[str, Tensor]:
    """Whole numbers, whose sums are exact; few ``values`` make ties."""
    generator = torch.Generator().manual_seed(seed)
    return {
        layer.name: torch.randint(0, values, weight_shape(layer), generator=generator).double()
        for layer in plan.prunable
    }


def plan_of(**layers: tuple[Form, tuple[int, ...]]) -> Plan:
    """Convolutions (O, I, kh, kw) and linear layers (O, I) by name."""
    entries = []
    for name, (form, (outputs, inputs, *kernel)) in layers.items():
        height, width = kernel or (1, 1)
        kind = "conv" if kernel else "linear"
        layer = Layer(name, kind, inputs, outputs, (height, width))
        entries.append(LayerPlan(layer, form, ""))
    return Plan(tuple(entries))


class Watch:
    """A progress that calls ``seen`` with a phase's name before its first epoch."""

    def __init__(self, seen: Any) -> None:
        self._seen = seen

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        self._seen(what)
        yield from items

    def note(self, text: str) -> None:
        pass


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def equal_states(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    same = first.keys() == second.keys()
    return same and all(torch.equal(first[name], second[name]) for name in first)
