"""RigL: single weights at the target sparsity from the start, dropped and grown while training.

Evci et al., "Rigging the lottery: Making all tickets winners", ICML 2020 (Algorithm 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.layers import Layer
from crisp_loop.core.pattern import as_fraction
from crisp_loop.prune.plan import counted_weights
from crisp_loop.prune.schedule import weights_to_prune
from crisp_loop.prune.ste import WeightMask, latent_weight, masked_weights, zero_masked
from crisp_loop.prune.training.finetune import Step
from crisp_loop.prune.training.task import Outcome, Task

LAST_CHANGE = 0.75
"""Share of the steps after which masks stay (the paper's T_end)."""


def rigl(task: Task) -> Outcome:
    """Train ``task.model`` in place under masks that move, for as many epochs as pruning takes.

    Every ``rigl_every`` steps, each layer drops the smallest of its weights and grows as many
    where the gradient of the last batch is largest; grown weights start at 0. Layers share the
    weights as Erdos-Renyi-Kernel says, and the first masks are random.

    Left out: the paper trains from random weights, this from the given ones, of which the
    first masks keep a random part; the criterion of the configuration is not asked.
    """
    config, model = task.config, task.model
    weights = counted_weights(task.plan, config)
    zeros = weights_to_prune(as_fraction(config.sparsity), weights)
    counts = erdos_renyi_kernel(task.plan.prunable, zeros)
    generator = torch.Generator().manual_seed(config.seed)
    with masked_weights(model, task.names) as masks:
        for name, mask in masks.items():
            order = torch.randperm(mask.soft.numel(), generator=generator)
            chosen = torch.zeros(mask.soft.numel(), dtype=torch.bool)
            chosen[order[: counts[name]]] = True
            mask.soft.copy_(chosen.view(mask.soft.shape))
        zero_masked(model, masks)

        def after(step: Step) -> None:
            # Before the masks move: the step moved masked weights too, and grown ones start at 0.
            _hold_zeros(task, masks, step.optimizer)
            last = LAST_CHANGE * step.total
            if step.number % config.rigl_every == 0 and step.number < last:
                share = config.rigl_share / 2 * (1 + math.cos(math.pi * step.number / last))
                for name, mask in masks.items():
                    latent = latent_weight(model.get_submodule(name))
                    if latent.grad is None:
                        raise CrispLoopError(
                            f"Layer {name} gets no gradient, so RigL cannot grow its weights;"
                            f" train it too, or exclude it."
                        )
                    mask.soft.copy_(exchanged(latent, latent.grad, mask.soft, share))
                _hold_zeros(task, masks, step.optimizer)

        task.train("RigL", task.epochs, after)
        report = task.report(masks, 1, config.sparsity, counts)
        return task.outcome(masks, [report])


def exchanged(weight: Tensor, gradient: Tensor, mask: Tensor, share: float) -> Tensor:
    """``mask`` after one drop and growth.

    Args:
        weight: Any shape; 0 where masked.
        gradient: Of the dense weight, masked places included.
        mask: Boolean.
        share: Of the kept weights, how many are exchanged.

    Returns:
        Boolean, with as many True as ``mask``. A weight that was dropped may grow again at once.
    """
    kept = mask.flatten()
    total = int(kept.sum())
    count = min(int(share * total), kept.numel() - total)
    sizes = weight.detach().flatten().abs().masked_fill(~kept, -1.0)
    stay = torch.zeros_like(kept)
    stay[sizes.sort(descending=True, stable=True).indices[: total - count]] = True
    wanted = gradient.flatten().abs().masked_fill(stay, -1.0)
    stay[wanted.sort(descending=True, stable=True).indices[:count]] = True
    return stay.view(mask.shape)


def erdos_renyi_kernel(layers: Sequence[Layer], zeros: int) -> dict[str, int]:
    """How many weights each layer keeps: more in small layers (Evci et al., section 3).

    The density of a layer is proportional to (C_in + C_out + kh + kw) / (C_in * C_out * kh * kw),
    and 1 where that would exceed it.

    Args:
        layers: To share the weights among.
        zeros: Weights to mask in total.

    Returns:
        Layer name to its kept weights, at least 1; they add up to all weights less ``zeros``.
    """
    sizes = {layer.name: layer.weights for layer in layers}
    left = sum(sizes.values()) - zeros
    shares = {layer.name: _connections(layer) / layer.weights for layer in layers}
    full: set[str] = set()
    while True:
        open_ = [name for name in sizes if name not in full]
        room = left - sum(sizes[name] for name in full)
        scale = room / sum(shares[name] * sizes[name] for name in open_) if open_ else 0.0
        over = {name for name in open_ if scale * shares[name] > 1}
        if not over:
            break
        full |= over
    exact = {n: float(s) if n in full else scale * shares[n] * s for n, s in sizes.items()}
    return _whole(exact, sizes, left)


def _connections(layer: Layer) -> int:
    kernel = sum(layer.kernel) if layer.kind == "conv" else 0
    return layer.in_channels // layer.groups + layer.out_channels + kernel


def _whole(exact: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Whole numbers near ``exact``, from 1 to ``sizes``, that add up to ``total``."""
    counts = {name: min(sizes[name], max(1, int(value))) for name, value in exact.items()}
    rest = total - sum(counts.values())
    # Where rounding down lost most first; layers that are full or at their last weight are passed.
    order = sorted(counts, key=lambda name: counts[name] - exact[name], reverse=rest < 0)
    step = 1 if rest > 0 else -1
    while rest:
        for name in order:
            if rest and 1 <= counts[name] + step <= sizes[name]:
                counts[name] += step
                rest -= step
    return counts


def _hold_zeros(task: Task, masks: dict[str, WeightMask], optimizer: torch.optim.Optimizer) -> None:
    """Masked weights are 0 and have no momentum, so one that grows starts from rest."""
    zero_masked(task.model, masks)
    for name, mask in masks.items():
        state = optimizer.state[latent_weight(task.model.get_submodule(name))]
        if (momentum := state.get("momentum_buffer")) is not None:
            momentum.masked_fill_(~mask.keep, 0.0)
