"""N:M inside uniformly pruned blocks (CRISP, Algorithm 1, lines 2 to 10), and either alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from crisp_loop.core.layers import Layer
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.methods.base import Setting
from crisp_loop.prune.patterns.blocks import (
    RankColumns,
    block_scores,
    choose_columns,
    kept_blocks,
    mask_and_score,
    rank_columns,
    weights_in_blocks,
    write_blocks,
)
from crisp_loop.prune.patterns.nm import nm_mask, to_matrix
from crisp_loop.prune.plan import Plan, pattern_zeros
from crisp_loop.prune.scores.products import Saliency, multiplied
from crisp_loop.prune.ste import WeightMask


@dataclass(frozen=True)
class Hybrid:
    """``crisp``; with the pattern 4:4 ``blocks``, and without hybrid layers ``nm``."""

    setting: Setting

    def start(self, masks: dict[str, WeightMask]) -> None:
        """N:M masks by the given model's scores, for the straight-through fine-tuning."""
        nm = self.setting.config.nm
        if nm.n < nm.m:
            setting = self.setting
            set_nm_masks(masks, setting.factored_saliency(), setting.plan, setting.config)

    def prune(self, masks: dict[str, WeightMask], zeros: int) -> dict[str, int]:
        """Score once, then N:M masks, then rank columns; returns K'/B of the hybrid layers."""
        setting = self.setting
        saliency = setting.factored_saliency()
        scores = set_nm_masks(masks, saliency, setting.plan, setting.config)
        return prune_blocks(masks, scores, setting.plan, setting.config, zeros)


def set_nm_masks(
    masks: dict[str, WeightMask],
    saliency: Mapping[str, Saliency],
    plan: Plan,
    config: PruneConfig,
) -> dict[str, Tensor]:
    """Keep the N most salient of M, everywhere (Algorithm 1, line 2), and score blocks (line 5).

    Args:
        masks: Their soft part is overwritten.
        saliency: Used up: gradients in it may be overwritten.
        plan: Which layers have blocks.
        config: N:M, B, and which of the two prunings comes first.

    Returns:
        Hybrid layer to its block scores, ceil(S/B) x ceil(K/B): over the weights that N:M pruning
        leaves, or over all where blocks come first.
    """
    scores: dict[str, Tensor] = {}
    hybrid = {layer.name for layer in plan.of_form("hybrid")}
    for name, mask in masks.items():
        if name in hybrid and config.order == "nm_first":
            scores[name] = mask_and_score(saliency[name], config.nm, config.block, mask.soft)
            continue
        weights = multiplied(saliency[name])
        nm_mask(weights, config.nm, out=mask.soft)
        if name in hybrid:
            scores[name] = block_scores(weights, config.block)
    return scores


def prune_blocks(
    masks: dict[str, WeightMask],
    scores: Mapping[str, Tensor],
    plan: Plan,
    config: PruneConfig,
    zeros: int,
) -> dict[str, int]:
    """Prune rank columns until ``zeros`` weights are masked, N:M included (lines 3 to 10).

    Returns:
        Hybrid layer to the blocks that each of its block-rows keeps, K'/B.
    """
    columns = {
        layer.name: _rank_columns(layer, masks[layer.name], scores[layer.name], config)
        for layer in plan.of_form("hybrid")
    }
    zeros_in_blocks = max(0, zeros - pattern_zeros(plan, config))
    chosen = choose_columns(columns, zeros_in_blocks, config.score_norm, config.min_blocks)
    for name, count in chosen.items():
        write_blocks(kept_blocks(columns[name], count), config.block, masks[name].hard)
    return {name: columns[name].columns - count for name, count in chosen.items()}


def _rank_columns(
    layer: Layer, mask: WeightMask, scores: Tensor, config: PruneConfig
) -> RankColumns:
    """The rank columns of one layer, from its block scores."""
    # Pruned blocks need no mask here: they rank before all others whatever their score.
    first_of_block = to_matrix(mask.hard[:: config.block])[:, :: config.block]
    weights = weights_in_blocks(layer.S, layer.K, config.block, config.nm)
    return rank_columns(scores, first_of_block, weights)
