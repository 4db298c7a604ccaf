"""Training: SGD with momentum along a cosine, and accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.datasets.split import Split
from crisp_loop.networks.modes import in_mode
from crisp_loop.prune.batches import Batches
from crisp_loop.prune.config import AugmentName, PruneConfig
from crisp_loop.prune.training.augment import AUGMENTATIONS
from crisp_loop.prune.training.resume import (
    Checkpoint,
    Snapshot,
    generator_states,
    restore_generators,
    under,
)
from crisp_loop.prune.training.runtime import PlacedBatches, Runtime

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
    augment: AugmentName = "none"

    @classmethod
    def of(cls, config: PruneConfig, phase: str, epochs: int, lr: float) -> Recipe:
        """``epochs`` epochs from ``lr`` with the optimizer of ``config``."""
        return cls(phase, epochs, lr, config.momentum, config.weight_decay, config.augment)


@dataclass(frozen=True)
class Step:
    """One optimizer step that was just done."""

    number: int
    """From 1."""
    total: int
    """Steps of the whole phase."""
    optimizer: torch.optim.Optimizer


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
    runtime: Runtime,
    *,
    after_step: Callable[[Step], None] | None = None,
    checkpoint: Checkpoint | None = None,
    log: Log | None = None,
    progress: Progress | None = None,
) -> None:
    """Train ``model`` in place with the cross entropy over all its outputs.

    Args:
        model: In training mode meanwhile.
        batches: One epoch an iteration.
        recipe: Epochs, learning rate and the like. The optimizer starts afresh: momentum of
            an earlier phase would carry weights across a change of masks.
        runtime: Where, and in which precision.
        after_step: Called after every optimizer step.
        checkpoint: Keeps the state after each epoch; training starts from there if it holds any.
        log: Gets one line an epoch.
        progress: Shows the epochs.

    Raises:
        CrispLoopError: the loss became NaN or infinite, or all parameters are frozen.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise CrispLoopError("No parameter of the model requires a gradient: nothing can train.")
    optimizer = torch.optim.SGD(
        trained,
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    scaler = runtime.scaler()
    augment = AUGMENTATIONS[recipe.augment]
    placed = PlacedBatches(batches, runtime)
    lines: list[dict[str, Any]] = []
    if checkpoint is not None and (snapshot := checkpoint.load()):
        _restore(snapshot, model, optimizer, scaler, batches)
        lines = snapshot.position["lines"]
        (progress or Quiet()).note(f"{recipe.phase}: goes on after epoch {len(lines)}.")
    if log is not None:
        for line in lines:
            log(line)
    done = len(lines)
    steps = recipe.epochs * len(batches)
    step = done * len(batches)
    epochs = range(done + 1, recipe.epochs + 1)
    with in_mode(model, training=True):
        for epoch in (progress or Quiet()).track(epochs, recipe.phase, len(epochs)):
            total, samples = torch.zeros((), dtype=torch.float64, device=runtime.device), 0
            for images, labels in placed:
                rate = recipe.lr * (1 + math.cos(math.pi * step / steps)) / 2
                for group in optimizer.param_groups:
                    group["lr"] = rate
                with runtime.autocast():
                    loss = nn.functional.cross_entropy(model(augment(images)), labels)
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                step += 1
                if after_step is not None:
                    after_step(Step(step, steps, optimizer))
                # Not read here: that would make a GPU wait at every step.
                total += loss.detach() * len(labels)
                samples += len(labels)
            if not total.isfinite():
                raise CrispLoopError(
                    f"The loss became NaN or infinite in epoch {epoch} of {recipe.phase!r};"
                    f" check the data and the weights, or lower the learning rate from"
                    f" {recipe.lr:g}."
                )
            lines.append({"phase": recipe.phase, "epoch": epoch, "loss": float(total) / samples})
            if log is not None:
                log(lines[-1])
            if checkpoint is not None:
                checkpoint.save(_snapshot(lines, model, optimizer, scaler, batches))
    optimizer.zero_grad()


def accuracy(model: nn.Module, data: Split, user_classes: Sequence[int]) -> Accuracy:
    """Accuracy of ``model`` on ``data``, whose labels are all among ``user_classes``."""
    first = next(model.parameters(), None)
    device = data.images.device if first is None else first.device
    own = torch.tensor(list(user_classes), device=device)
    right = right_among = 0
    with in_mode(model, training=False), torch.no_grad():
        for images, labels in zip(data.images.split(256), data.labels.split(256), strict=True):
            outputs, targets = model(images.to(device)), labels.to(device)
            right += int((outputs.argmax(dim=1) == targets).sum())
            right_among += int((own[outputs[:, own].argmax(dim=1)] == targets).sum())
    return Accuracy(len(data), right / len(data), right_among / len(data))


def _snapshot(
    lines: list[dict[str, Any]],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    batches: Batches,
) -> Snapshot:
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    momenta = {
        f"momentum.{place}": state["momentum_buffer"]
        for place, state in optimizer.state_dict()["state"].items()
        if state.get("momentum_buffer") is not None
    }
    position = {"lines": lines, "scaler": scaler.state_dict()}
    return Snapshot(position, {**weights, **momenta, **generator_states(batches)})


def _restore(
    snapshot: Snapshot,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    batches: Batches,
) -> None:
    model.load_state_dict(under("model", snapshot.tensors))
    momenta = under("momentum", snapshot.tensors)
    state = optimizer.state_dict()
    state["state"] = {int(place): {"momentum_buffer": value} for place, value in momenta.items()}
    optimizer.load_state_dict(state)
    scaler.load_state_dict(snapshot.position["scaler"])
    restore_generators(snapshot.tensors, batches)
