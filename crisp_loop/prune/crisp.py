"""Algorithm 1 of CRISP on one model: iterate fine-tuning, scoring, N:M and block pruning."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from crisp_loop.core.layers import Layer
from crisp_loop.core.masks import Masks
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.prune.batches import Batches
from crisp_loop.prune.blocks import (
    RankColumns,
    block_scores,
    choose_columns,
    kept_blocks,
    rank_columns,
    write_blocks,
)
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.finetune import Log, Recipe, train
from crisp_loop.prune.nm import nm_mask, to_matrix
from crisp_loop.prune.plan import Plan, column_weights
from crisp_loop.prune.saliency import score_weights
from crisp_loop.prune.schedule import kappa, weights_to_prune
from crisp_loop.prune.ste import WeightMask, freeze, masked_weights, zero_masked


@dataclass(frozen=True)
class IterationReport:
    """What one iteration pruned."""

    iteration: int
    kappa: float
    """Target sparsity over the prunable layers' weights."""
    sparsity: float
    """Reached sparsity, at least ``kappa`` and by less than one rank column more."""
    kept_blocks: dict[str, int]
    """Hybrid layer to the blocks that each of its block-rows keeps, K'/B."""


def crisp(
    model: nn.Module,
    batches: Batches,
    plan: Plan,
    config: PruneConfig,
    *,
    name: str,
    log: Log | None = None,
    progress: Progress | None = None,
) -> tuple[Masks, list[IterationReport]]:
    """Prune and fine-tune ``model`` in place.

    Args:
        model: Trained on all classes. Afterwards its masked weights are zero and no trace of
            the masks is left in it.
        batches: Samples of the user's classes.
        plan: What is pruned how, from :func:`~crisp_loop.prune.plan.plan_layers`.
        config: Everything else.
        name: Of the model, for the masks.
        log: Gets a line an epoch and a line an iteration.
        progress: Shows the epochs.

    Returns:
        The masks of the prunable layers, and what each iteration did.
    """
    progress = progress or Quiet()
    names = [layer.name for layer in plan.prunable]
    reports: list[IterationReport] = []

    def tune(phase: str, epochs: int, frozen: bool = False) -> None:
        recipe = Recipe(phase, epochs, config.lr, config.momentum, config.weight_decay)
        after = (lambda: zero_masked(model, masks)) if frozen else None
        train(model, batches, recipe, after_step=after, log=log, progress=progress)

    def score() -> dict[str, Tensor]:
        return score_weights(model, batches, names, config.criterion, seed=config.seed)

    with masked_weights(model, names, config.sr_ste_decay) as masks:
        # The first straight-through fine-tuning needs N:M masks, so the given model is scored.
        set_nm_masks(masks, score(), config)
        for iteration in range(1, config.iterations + 1):
            tune(f"iteration {iteration}: N:M", config.ste_epochs)
            saliency = score()
            set_nm_masks(masks, saliency, config)
            report = prune_blocks(masks, saliency, plan, config, iteration)
            reports.append(report)
            if log is not None:
                log({"phase": "prune", **vars(report)})
            tune(f"iteration {iteration}: recover", config.iteration_epochs)
        freeze(model, masks)
        tune("final", config.final_epochs, frozen=True)
        kept = {layer: mask.keep.cpu().numpy() for layer, mask in masks.items()}
    return Masks(model=name, nm=config.nm, block=config.block, layers=kept), reports


def set_nm_masks(
    masks: dict[str, WeightMask], saliency: dict[str, Tensor], config: PruneConfig
) -> None:
    """Keep the N most salient of M, everywhere (Algorithm 1, line 2)."""
    for name, mask in masks.items():
        nm_mask(saliency[name], config.nm, out=mask.nm)


def prune_blocks(
    masks: dict[str, WeightMask],
    saliency: dict[str, Tensor],
    plan: Plan,
    config: PruneConfig,
    iteration: int,
) -> IterationReport:
    """Prune rank columns until the iteration's target is reached (lines 3 to 10)."""
    hybrid = plan.of_form("hybrid")
    columns = {
        layer.name: _rank_columns(layer, masks[layer.name], saliency[layer.name], config)
        for layer in hybrid
    }
    weights = sum(layer.weights for layer in plan.prunable)
    target = kappa(iteration, config.iterations, config.sparsity, config.nm)
    zeros_nm = weights - weights * config.nm.n // config.nm.m
    zeros = max(0, weights_to_prune(target, weights) - zeros_nm)
    chosen = choose_columns(columns, zeros, config.score_norm)
    for name, count in chosen.items():
        write_blocks(kept_blocks(columns[name], count), config.block, masks[name].blocks)
    # Exact: N:M pruning keeps N of every M, and no group crosses a block.
    nonzero = sum(layer.weights * config.nm.n // config.nm.m for layer in plan.prunable)
    nonzero -= sum(columns[name].column_weights * count for name, count in chosen.items())
    return IterationReport(
        iteration=iteration,
        kappa=float(target),
        sparsity=1 - nonzero / weights,
        kept_blocks={name: columns[name].columns - count for name, count in chosen.items()},
    )


def _rank_columns(
    layer: Layer, mask: WeightMask, saliency: Tensor, config: PruneConfig
) -> RankColumns:
    """The rank columns of one layer, scored by the weights that N:M pruning leaves."""
    # Pruned blocks need no mask here: they rank before all others whatever their score.
    scores = block_scores(saliency, config.block, mask.nm)
    first_of_block = to_matrix(mask.blocks[:: config.block])[:, :: config.block]
    return rank_columns(scores, first_of_block, column_weights(layer, config))
