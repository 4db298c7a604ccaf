"""Training: SGD with momentum along a cosine, and accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.datasets.split import Split
from crisp_loop.networks.modes import in_mode
from crisp_loop.prune.batches import Batches

Log = Callable[[dict[str, object]], None]
"""Takes one line of ``log.jsonl``."""


@dataclass(frozen=True)
class Recipe:
    """One training phase."""

    phase: str
    """Name for the log and the progress bar."""
    epochs: int
    lr: float
    """First learning rate; step t of T uses lr * (1 + cos(pi t/T)) / 2."""
    momentum: float
    weight_decay: float


@dataclass(frozen=True)
class Accuracy:
    """Share of samples whose class is recognised, 0 to 1."""

    samples: int
    top1: float
    """The right class has the largest of all outputs."""
    top1_among_user_classes: float
    """The right class has the largest of the user classes' outputs."""


def train(
    model: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    after_step: Callable[[], None] | None = None,
    log: Log | None = None,
    progress: Progress | None = None,
) -> None:
    """Train ``model`` in place with the cross entropy over all its outputs.

    Args:
        model: In training mode meanwhile.
        batches: One epoch an iteration.
        recipe: Epochs, learning rate and the like. The optimizer starts afresh: momentum of
            an earlier phase would carry weights across a change of masks.
        after_step: Called after every optimizer step.
        log: Gets one line an epoch.
        progress: Shows the epochs.

    Raises:
        CrispLoopError: the loss became NaN or infinite.
    """
    optimizer = torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    steps = recipe.epochs * len(batches)
    step = 0
    epochs = range(1, recipe.epochs + 1)
    with in_mode(model, training=True):
        for epoch in (progress or Quiet()).track(epochs, recipe.phase, recipe.epochs):
            total, samples = 0.0, 0
            for images, labels in batches:
                rate = recipe.lr * (1 + math.cos(math.pi * step / steps)) / 2
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss = nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if after_step is not None:
                    after_step()
                total += float(loss.detach()) * len(labels)
                samples += len(labels)
                step += 1
            if not math.isfinite(total):
                raise CrispLoopError(
                    f"The loss became NaN or infinite in epoch {epoch} of {recipe.phase!r};"
                    f" lower the learning rate from {recipe.lr:g}."
                )
            if log is not None:
                log({"phase": recipe.phase, "epoch": epoch, "loss": total / samples})
    optimizer.zero_grad()


def accuracy(model: nn.Module, data: Split, user_classes: Sequence[int]) -> Accuracy:
    """Accuracy of ``model`` on ``data``, whose labels are all among ``user_classes``."""
    own = torch.tensor(list(user_classes))
    right = right_among = 0
    with in_mode(model, training=False), torch.no_grad():
        for images, labels in zip(data.images.split(256), data.labels.split(256), strict=True):
            outputs = model(images)
            right += int((outputs.argmax(dim=1) == labels).sum())
            right_among += int((own[outputs[:, own].argmax(dim=1)] == labels).sum())
    return Accuracy(len(data), right / len(data), right_among / len(data))
