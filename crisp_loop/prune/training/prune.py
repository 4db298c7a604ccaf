"""All ways to train and prune one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crisp_loop.prune.training.iterate import iterate
from crisp_loop.prune.training.rigl import rigl
from crisp_loop.prune.training.task import Outcome, Task

TRAININGS: Mapping[str, Callable[[Task], Outcome]] = {
    "iterative": iterate,
    "lottery": iterate,
    "rigl": rigl,
}
"""``PruneConfig.mode`` to what trains and prunes."""


def prune_model(task: Task) -> Outcome:
    """Prune ``task.model`` in place as its configuration says, and fine-tune it."""
    if task.config.method == "dense":
        finetune(task)
        return task.outcome({}, [])
    return TRAININGS[task.config.mode](task)


def finetune(task: Task) -> None:
    """Fine-tune without masks, as many epochs as pruning takes: the upper bound."""
    task.train("dense fine-tuning", task.epochs, checkpoint=task.checkpoint)
