"""Algorithm 1's loop: fine-tune, score, mask, fine-tune, with any method of masking."""

from __future__ import annotations

from dataclasses import asdict, replace

from torch import Tensor

from crisp_loop.prune.methods import method_for
from crisp_loop.prune.methods.base import Setting
from crisp_loop.prune.plan import counted_weights, pattern_zeros
from crisp_loop.prune.schedule import kappa, weights_to_prune
from crisp_loop.prune.ste import WeightMask, freeze, masked_weights, zero_masked
from crisp_loop.prune.training.finetune import Log
from crisp_loop.prune.training.resume import (
    Snapshot,
    generator_states,
    restore_generators,
    under,
)
from crisp_loop.prune.training.runtime import PlacedBatches
from crisp_loop.prune.training.task import IterationReport, Outcome, Task


def iterate(task: Task) -> Outcome:
    """Prune and fine-tune ``task.model`` in place, iteration by iteration.

    With the mode ``lottery`` (Frankle and Carbin, ICLR 2019; rewinding to trained weights as Chen
    et al., NeurIPS 2020), everything but the masks goes back after each pruning to what it was in
    the given model, as the winning ticket is trained from there. Left out: rewinding to an early
    epoch of the dense training, which a user's network does not come with.
    """
    said: list[dict[str, object]] = []
    task = replace(task, log=_recording(task.log, said))
    config, model = task.config, task.model
    placed = PlacedBatches(task.batches, task.runtime)

    with masked_weights(model, task.names, config.sr_ste_decay) as masks:
        method = method_for(Setting(model, placed, task.plan, config))
        first = _copied(model.state_dict()) if config.mode == "lottery" else {}
        reports = _restored(task, masks)
        if not reports:
            method.start(masks)
        weights = counted_weights(task.plan, config)
        for iteration in range(len(reports) + 1, config.iterations + 1):
            task.train(f"iteration {iteration}: before pruning", config.ste_epochs)
            target = kappa(iteration, config, pattern_zeros(task.plan, config), weights)
            kept = method.prune(masks, weights_to_prune(target, weights))
            reports.append(task.report(masks, iteration, float(target), kept))
            if first:
                model.load_state_dict(first)
            task.train(f"iteration {iteration}: recover", config.iteration_epochs)
            _save(task, masks, reports, said)
        if first:
            model.load_state_dict(first)
        freeze(model, masks)
        task.train("final", config.final_epochs, lambda step: zero_masked(model, masks))
        return task.outcome(masks, reports)


def _recording(log: Log | None, said: list[dict[str, object]]) -> Log:
    def both(line: dict[str, object]) -> None:
        said.append(line)
        if log is not None:
            log(line)

    return both


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _save(
    task: Task,
    masks: dict[str, WeightMask],
    reports: list[IterationReport],
    said: list[dict[str, object]],
) -> None:
    if task.checkpoint is None:
        return
    tensors = {f"model.{name}": value for name, value in task.model.state_dict().items()}
    for name, mask in masks.items():
        tensors |= {f"soft.{name}": mask.soft, f"hard.{name}": mask.hard}
    position = {"reports": [asdict(report) for report in reports], "said": said}
    task.checkpoint.save(Snapshot(position, {**tensors, **generator_states(task.batches)}))


def _restored(task: Task, masks: dict[str, WeightMask]) -> list[IterationReport]:
    """The iterations that an earlier run did, with everything put back to after the last one."""
    snapshot = task.checkpoint.load() if task.checkpoint is not None else None
    if snapshot is None:
        return []
    task.model.load_state_dict(under("model", snapshot.tensors))
    for name, mask in masks.items():
        mask.soft.copy_(snapshot.tensors[f"soft.{name}"])
        mask.hard.copy_(snapshot.tensors[f"hard.{name}"])
    restore_generators(snapshot.tensors, task.batches)
    reports = [IterationReport(**report) for report in snapshot.position["reports"]]
    task.progress.note(f"Pruning goes on after iteration {len(reports)}.")
    if task.log is not None:
        for line in snapshot.position["said"]:
            task.log(line)
    return reports
