"""Prune any torch module in a few lines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.masks import Masks
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.datasets.split import Split
from crisp_loop.networks.modes import in_mode
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.batches import Batches, TensorBatches, as_batches
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.plan import plan_layers
from crisp_loop.prune.training.finetune import Log
from crisp_loop.prune.training.prune import prune_model
from crisp_loop.prune.training.runtime import runtime_of
from crisp_loop.prune.training.task import Task


def prune_module(
    model: nn.Module,
    data: Batches | Split | tuple[Tensor, Tensor],
    config: PruneConfig | None = None,
    *,
    log: Log | None = None,
    progress: Progress | None = None,
) -> Masks:
    """Prune ``model`` in place for the classes that ``data`` holds, and fine-tune it.

    ``masks = prune_module(model, (images, labels), PruneConfig(nm="2:4", sparsity=0.9))``

    Args:
        model: Trained; takes one batch of inputs and returns logits (B, classes). Afterwards
            its masked weights are zero and it is otherwise the plain module it was. It is trained
            where it is, whatever ``config.device`` says.
        data: Samples of the user's classes: a DataLoader of (inputs, labels), a Split, or a
            pair of tensors.
        config: The defaults when None; its training, data and batch options do not apply to
            a loader.
        log: Gets one dictionary an epoch and an iteration.
        progress: Shows the epochs.

    Returns:
        The masks of the pruned layers, ready for :func:`crisp_loop.core.masks.save_masks`.

    Raises:
        CrispLoopError: nothing to prune, an unreachable sparsity, labels that are no output of
            the model, NaN gradients.
    """
    config = config or PruneConfig()
    # Only the seed's own stream is used; the caller's random state is as before afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        batches = as_batches(data, config.batch_size, config.seed)
        first, labels = next(iter(batches))
        table = layer_table(model, tuple(first.shape[1:]))
        plan = plan_layers(table, config)
        runtime = runtime_of(model, config)
        labels = batches.labels if isinstance(batches, TensorBatches) else labels
        _check_labels(model, runtime.place(first[:1]), labels)
        task = Task(
            model=model,
            batches=batches,
            plan=plan,
            config=config,
            runtime=runtime,
            name=table.model,
            log=log,
            progress=progress or Quiet(),
        )
        return prune_model(task).masks


def _check_labels(model: nn.Module, sample: Tensor, labels: Tensor) -> None:
    """Refuse class ids that the model has no output for; torch itself tells it badly."""
    if labels.ndim != 1:
        return
    with in_mode(model, training=False), torch.no_grad():
        outputs = model(sample).shape[-1]
    expected = f"expected int64 class ids from 0 to {outputs - 1}, the model's outputs"
    if labels.dtype != torch.int64:
        kind = str(labels.dtype).removeprefix("torch.")
        raise CrispLoopError(f"The labels for pruning are {kind}; {expected}.")
    wrong = labels[(labels < 0) | (labels >= outputs)]
    if len(wrong):
        raise CrispLoopError(f"The labels for pruning hold {int(wrong[0])}; {expected}.")
