"""Prune any torch module in a few lines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crisp_loop.core.masks import Masks
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.datasets.split import Split
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.batches import Batches, as_batches
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.finetune import Log
from crisp_loop.prune.plan import plan_layers
from crisp_loop.prune.runtime import runtime_of
from crisp_loop.prune.training import Task, prune_model


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
            its masked weights are zero and it is otherwise the plain module it was.
        data: Samples of the user's classes: a DataLoader of (inputs, labels), a Split, or a
            pair of tensors.
        config: The defaults when None; its training, data and batch options do not apply to
            a loader.
        log: Gets one dictionary an epoch and an iteration.
        progress: Shows the epochs.

    Returns:
        The masks of the pruned layers, ready for :func:`crisp_loop.core.masks.save_masks`.

    Raises:
        CrispLoopError: nothing to prune, an unreachable sparsity, NaN gradients.
    """
    config = config or PruneConfig()
    # Only the seed's own stream is used; the caller's random state is as before afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        batches = as_batches(data, config.batch_size, config.seed)
        first, _ = next(iter(batches))
        table = layer_table(model, tuple(first.shape[1:]))
        plan = plan_layers(table, config)
        task = Task(
            model=model,
            batches=batches,
            plan=plan,
            config=config,
            runtime=runtime_of(model, config),
            name=table.model,
            log=log,
            progress=progress or Quiet(),
        )
        return prune_model(task).masks
