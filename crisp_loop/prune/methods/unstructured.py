"""Single weights, wherever they are, ranked across all layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crisp_loop.prune.methods.base import Setting
from crisp_loop.prune.ste import WeightMask


@dataclass(frozen=True)
class Unstructured:
    """The least salient weights of all layers go first (Han et al., NeurIPS 2015).

    Han et al. set a threshold a layer, by hand; here one threshold holds for all layers, as Lee
    et al. (SNIP, ICLR 2019) and Frankle and Carbin (ICLR 2019, for their larger networks) do, and
    the criterion may be another than magnitude. Left out: a weight that was pruned never comes
    back. Every layer keeps one weight.
    """

    setting: Setting

    def start(self, masks: dict[str, WeightMask]) -> None:
        """Nothing is masked at first."""

    def prune(self, masks: dict[str, WeightMask], zeros: int) -> dict[str, int]:
        """Mask exactly ``zeros`` weights; returns the weights that each layer keeps."""
        keep = keep_best(self.setting.saliency(), masks, zeros, self.setting.config.score_norm)
        for name, mask in masks.items():
            mask.hard.copy_(keep[name])
        return {name: int(kept.sum()) for name, kept in keep.items()}


def keep_best(
    saliency: dict[str, Tensor], masks: dict[str, WeightMask], zeros: int, norm: str
) -> dict[str, Tensor]:
    """True for all but the ``zeros`` least salient weights.

    Args:
        saliency: T_w, float64, not negative, in each weight's layout.
        masks: Weights that they prune already go first.
        zeros: How many weights go in total. Of equal ones, those of earlier layers do.
        norm: ``mean`` divides by the layer's mean; single weights need no other norm.
    """
    ranked: list[Tensor] = []
    for name, scores in saliency.items():
        values = scores.flatten()
        if norm == "mean" and values.mean() > 0:
            values = values / values.mean()
        values = values.masked_fill(~masks[name].hard.flatten(), -1.0)
        # Collapse guard: the best weight of a layer stays.
        values[values.argmax()] = torch.inf
        ranked.append(values)
    flat = torch.cat(ranked)
    kept = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    kept[flat.sort(stable=True).indices[:zeros]] = False
    parts = kept.split([len(values) for values in ranked])
    return {
        name: part.reshape(scores.shape)
        for (name, scores), part in zip(saliency.items(), parts, strict=True)
    }
