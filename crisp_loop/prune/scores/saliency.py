"""Scoring the weights of chosen layers, without a trace in the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.networks.modes import in_mode
from crisp_loop.prune.batches import Batches
from crisp_loop.prune.config import CriterionName
from crisp_loop.prune.scores.criteria import CRITERIA, Subject
from crisp_loop.prune.scores.generators import generators_kept
from crisp_loop.prune.scores.products import Saliency, is_finite, multiplied
from crisp_loop.prune.ste import WeightMask, latent_weight


def score_weights(
    model: nn.Module,
    batches: Batches,
    names: Sequence[str],
    criterion: CriterionName = "paper",
    *,
    seed: int = 0,
) -> dict[str, Tensor]:
    """T_w of every weight of the layers ``names``: bigger means keep, never negative.

    L is the cross entropy over all of the model's outputs. Under a mask, w is the latent weight
    and its gradient is the straight-through one, so masked weights have a saliency too.

    The model runs in evaluation mode with the loss summed over samples, so the result does not
    depend on how samples are split into batches (up to the rounding of float32 sums), and
    nothing moves: not batch-norm statistics, weights, ``.grad``, or random generators.

    Args:
        model: Any module with the layers ``names``.
        batches: Samples of the user's classes only.
        names: Qualified names of conv and linear layers.
        criterion: A name of :data:`crisp_loop.prune.scores.criteria.CRITERIA`.
        seed: For the criterion ``random``.

    Returns:
        Layer name to float64 saliencies in the weight's own layout.

    Raises:
        CrispLoopError: a gradient or weight, and so a score, is NaN or infinite.
    """
    found = factored_scores(model, batches, names, criterion, seed=seed)
    return {name: multiplied(saliency) for name, saliency in found.items()}


def factored_scores(
    model: nn.Module,
    batches: Batches,
    names: Sequence[str],
    criterion: CriterionName = "paper",
    *,
    seed: int = 0,
) -> dict[str, Saliency]:
    """As :func:`score_weights`, but products of gradient and weight are not multiplied out."""
    weights = [latent_weight(model.get_submodule(name)) for name in names]
    with (
        in_mode(model, training=False),
        _requiring_gradients(weights),
        generators_kept(batches),
        _no_decay(model),
    ):
        scores = CRITERIA[criterion](Subject(model, batches, weights, seed))
    for name, weight, score in zip(names, weights, scores, strict=True):
        if not is_finite(score):
            what = "gradients" if weight.isfinite().all() else "weights"
            raise CrispLoopError(
                f"The {what} of layer {name} are NaN or infinite, so its weights cannot be"
                f" scored; check the data and the weights, or lower the learning rate."
            )
    return dict(zip(names, scores, strict=True))


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
def _no_decay(model: nn.Module) -> Iterator[None]:
    """SR-STE's decay, which each backward pass adds once more, off: it is no part of dL/dw."""
    masks = [part for part in model.modules() if isinstance(part, WeightMask)]
    decays = [mask.decay for mask in masks]
    for mask in masks:
        mask.decay = 0.0
    try:
        yield
    finally:
        for mask, decay in zip(masks, decays, strict=True):
            mask.decay = decay
