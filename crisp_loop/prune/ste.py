"""Masked weights: straight-through gradients while masks may change, hard masks after.

While a model is inside :func:`masked_weights`, each named layer computes with
``weight * mask``; its dense ("latent") weight lives on underneath, so that a masked weight can
come back. On leaving, layers are plain again and hold the masked weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class _StraightThrough(torch.autograd.Function):
    """w * mask forward; backward the gradient passes soft masks, but not hard ones."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, soft: Tensor, hard: Tensor, decay: float) -> Tensor:
        ctx.save_for_backward(weight, soft, hard)
        ctx.decay = decay
        return weight.masked_fill(~(soft & hard), 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, soft, hard = ctx.saved_tensors
        gradient = gradients[0]
        if ctx.decay:
            gradient = gradient + ctx.decay * weight.masked_fill(soft, 0.0)
        return gradient.masked_fill(~hard, 0.0), None, None, None


class WeightMask(nn.Module):
    """The parametrization of one layer's weight.

    A soft mask (N:M) lets the dense gradient through (Bengio et al. 2013, as CRISP III-C), so
    masked weights go on learning and may be kept at the next scoring. What a hard mask (pruned
    blocks, channels, single weights) prunes is gone for good: it gets no gradient.
    """

    soft: Tensor
    """Boolean in the weight's layout; False where the weight is masked, for now."""
    hard: Tensor
    """Boolean in the weight's layout; False where it is pruned for good."""

    def __init__(self, weight: Tensor, decay: float = 0.0) -> None:
        super().__init__()
        everything = torch.ones(weight.shape, dtype=torch.bool, device=weight.device)
        self.register_buffer("soft", everything, persistent=False)
        self.register_buffer("hard", everything.clone(), persistent=False)
        self.decay = decay
        self.frozen = False

    @property
    def keep(self) -> Tensor:
        """Boolean in the weight's layout; True where the layer's weight may be non-zero."""
        return self.soft & self.hard

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer computes with."""
        if self.frozen:
            # Zero forward and zero gradient, whatever the latent weight is.
            return weight.masked_fill(~self.keep, 0.0)
        return _StraightThrough.apply(weight, self.soft, self.hard, self.decay)  # type: ignore[no-any-return]


def latent_weight(layer: nn.Module) -> nn.Parameter:
    """The parameter that an optimizer moves: the dense weight under a mask, if there is one."""
    if parametrize.is_parametrized(layer, "weight"):
        return layer.parametrizations["weight"].original  # type: ignore[index,return-value]
    return layer.weight  # type: ignore[return-value]


@contextmanager
def masked_weights(
    model: nn.Module, names: Iterable[str], decay: float = 0.0
) -> Iterator[dict[str, WeightMask]]:
    """Give the layers ``names`` of ``model`` masks for the length of the block.

    Args:
        model: Changed in place. Its parameters stay the same objects throughout.
        names: Qualified module names of conv and linear layers.
        decay: SR-STE's lambda; 0 for the plain estimator.

    Yields:
        Layer name to its mask, all True at first.
    """
    layers = {name: model.get_submodule(name) for name in names}
    masks: dict[str, WeightMask] = {}
    try:
        for name, layer in layers.items():
            masks[name] = WeightMask(latent_weight(layer).detach(), decay)
            parametrize.register_parametrization(layer, "weight", masks[name])
        yield masks
    finally:
        for name in masks:
            if parametrize.is_parametrized(layers[name], "weight"):
                parametrize.remove_parametrizations(layers[name], "weight", leave_parametrized=True)


def freeze(model: nn.Module, masks: dict[str, WeightMask]) -> None:
    """Make the masks hard: from here on a masked weight is zero and gets no gradient."""
    for mask in masks.values():
        mask.frozen = True
    zero_masked(model, masks)


def zero_masked(model: nn.Module, masks: dict[str, WeightMask]) -> None:
    """Set the latent weights under the masks to zero, so that weight decay sees zeros too."""
    with torch.no_grad():
        for name, mask in masks.items():
            latent_weight(model.get_submodule(name)).masked_fill_(~mask.keep, 0.0)
