"""Class-aware saliency (CASS, Eq. 1) of every weight of chosen layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.networks.modes import in_mode
from crisp_loop.prune.batches import Batches
from crisp_loop.prune.ste import latent_weight

Criterion = Literal["paper", "mean_abs"]


def cass(
    model: nn.Module, batches: Batches, names: Sequence[str], criterion: Criterion = "paper"
) -> dict[str, Tensor]:
    """T_w = |mean over samples(dL/dw) * w|, or mean(|dL/dw|) * |w| for ``mean_abs``.

    L is the cross entropy over all of the model's outputs. Under a mask, w is the latent weight
    and its gradient is the straight-through one, so masked weights have a saliency too.

    The model runs in evaluation mode with the loss summed over samples, so the result does not
    depend on how samples are split into batches (up to the rounding of float32 sums), and
    nothing moves: not batch-norm statistics, weights, ``.grad``, or random generators.

    Args:
        model: Any module with the layers ``names``.
        batches: Samples of the user's classes only.
        names: Qualified names of conv and linear layers.
        criterion: Which of the two formulas.

    Returns:
        Layer name to float64 saliencies in the weight's own layout.

    Raises:
        CrispLoopError: a gradient is NaN or infinite.
    """
    weights = [latent_weight(model.get_submodule(name)) for name in names]
    sums = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights]
    samples = 0
    with in_mode(model, training=False), _requiring_gradients(weights), _generators_kept(batches):
        for images, labels in batches:
            samples += len(labels)
            # |g| of each sample needs each sample's own backward pass.
            size = 1 if criterion == "mean_abs" else len(labels)
            for part, targets in zip(images.split(size), labels.split(size), strict=True):
                loss = nn.functional.cross_entropy(model(part), targets, reduction="sum")
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
                for total, gradient in zip(sums, gradients, strict=True):
                    if gradient is not None:
                        total += gradient.abs() if criterion == "mean_abs" else gradient
    saliency: dict[str, Tensor] = {}
    for name, weight, total in zip(names, weights, sums, strict=True):
        saliency[name] = (total / samples * weight.detach()).abs()
        if not saliency[name].isfinite().all():
            raise CrispLoopError(
                f"The gradients of layer {name} are NaN or infinite, so its weights cannot be"
                f" scored; check the data and the weights, or lower the learning rate."
            )
    return saliency


@contextmanager
def _requiring_gradients(weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Gradients for ``weights``, also where the caller had switched them off."""
    states = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        for weight, state in zip(weights, states, strict=True):
            weight.requires_grad_(state)


@contextmanager
def _generators_kept(batches: Batches) -> Iterator[None]:
    """Put torch's global generator and the batches' own one back to where they were.

    A DataLoader draws from the global generator at each epoch, even without a shuffle.
    """
    own = getattr(batches, "generator", None)
    state = own.get_state() if isinstance(own, torch.Generator) else None
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            if isinstance(own, torch.Generator) and state is not None:
                own.set_state(state)
