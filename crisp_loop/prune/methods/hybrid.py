"""N:M inside uniformly pruned blocks (CRISP, Algorithm 1, lines 2 to 10), and either alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from crisp_loop.core.layers import Layer
from crisp_loop.prune.blocks import (
    RankColumns,
    block_scores,
    choose_columns,
    kept_blocks,
    rank_columns,
    write_blocks,
)
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.methods.base import Setting
from crisp_loop.prune.nm import nm_mask, to_matrix
from crisp_loop.prune.plan import Plan, column_weights, pattern_zeros
from crisp_loop.prune.ste import WeightMask


@dataclass(frozen=True)
class Hybrid:
    """``crisp``; with the pattern 4:4 ``blocks``, and without hybrid layers ``nm``."""

    setting: Setting

    def start(self, masks: dict[str, WeightMask]) -> None:
        """N:M masks by the given model's scores, for the straight-through fine-tuning."""
        nm = self.setting.config.nm
        if nm.n < nm.m:
            set_nm_masks(masks, self.setting.saliency(), self.setting.config)

    def prune(self, masks: dict[str, WeightMask], zeros: int) -> dict[str, int]:
        """Score once, then N:M masks, then rank columns; returns K'/B of the hybrid layers."""
        setting = self.setting
        saliency = setting.saliency()
        set_nm_masks(masks, saliency, setting.config)
        return prune_blocks(masks, saliency, setting.plan, setting.config, zeros)


def set_nm_masks(
    masks: dict[str, WeightMask], saliency: dict[str, Tensor], config: PruneConfig
) -> None:
    """Keep the N most salient of M, everywhere (Algorithm 1, line 2)."""
    for name, mask in masks.items():
        nm_mask(saliency[name], config.nm, out=mask.soft)


def prune_blocks(
    masks: dict[str, WeightMask],
    saliency: dict[str, Tensor],
    plan: Plan,
    config: PruneConfig,
    zeros: int,
) -> dict[str, int]:
    """Prune rank columns until ``zeros`` weights are masked, N:M included (lines 3 to 10).

    Returns:
        Hybrid layer to the blocks that each of its block-rows keeps, K'/B.
    """
    columns = {
        layer.name: _rank_columns(layer, masks[layer.name], saliency[layer.name], config)
        for layer in plan.of_form("hybrid")
    }
    zeros_in_blocks = max(0, zeros - pattern_zeros(plan, config))
    chosen = choose_columns(columns, zeros_in_blocks, config.score_norm, config.min_blocks)
    for name, count in chosen.items():
        write_blocks(kept_blocks(columns[name], count), config.block, masks[name].hard)
    return {name: columns[name].columns - count for name, count in chosen.items()}


def _rank_columns(
    layer: Layer, mask: WeightMask, saliency: Tensor, config: PruneConfig
) -> RankColumns:
    """The rank columns of one layer."""
    # Pruned blocks need no mask here: they rank before all others whatever their score.
    counted = mask.soft if config.order == "nm_first" else None
    scores = block_scores(saliency, config.block, counted)
    first_of_block = to_matrix(mask.hard[:: config.block])[:, :: config.block]
    return rank_columns(scores, first_of_block, column_weights(layer, config))
