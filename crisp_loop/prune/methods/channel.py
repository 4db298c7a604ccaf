"""Whole output channels: by saliency, by OCAP's feature maps, or by CAP'NN's firing rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from crisp_loop.prune.methods.base import Setting
from crisp_loop.prune.patterns.channels import choose_channels
from crisp_loop.prune.scores.channel import capnn, filter_saliency, ocap
from crisp_loop.prune.ste import WeightMask

ChannelScores = Callable[[Setting], dict[str, Tensor]]
"""Gives a layer's name to float64 (S,), bigger means keep."""


@dataclass(frozen=True)
class Channels:
    """The lowest channels of all layers go first; every layer keeps one.

    Left out: the batch norm's offset of a pruned channel stays (so the next layer may still see a
    constant), and the next layer's weights for that channel are neither pruned nor counted.
    """

    setting: Setting
    scores: ChannelScores

    def start(self, masks: dict[str, WeightMask]) -> None:
        """Nothing is masked at first."""

    def prune(self, masks: dict[str, WeightMask], zeros: int) -> dict[str, int]:
        """Mask channels; returns how many each layer keeps."""
        scores = self.scores(self.setting)
        for name, score in scores.items():
            # What is pruned stays pruned, whatever its feature map shows, and all of it, though
            # the last channel that went may have been more than was asked for then or is now.
            score.masked_fill_(~masks[name].hard.flatten(1).any(dim=1), -1.0)
        zeros = max(zeros, sum(int((~mask.hard).sum()) for mask in masks.values()))
        sizes = {layer.name: layer.K for layer in self.setting.plan.prunable}
        keep = choose_channels(scores, sizes, zeros)
        for name, mask in masks.items():
            channels = keep[name].to(mask.hard.device)
            mask.hard.copy_(channels.view(-1, *[1] * (mask.hard.ndim - 1)).expand_as(mask.hard))
        return {name: int(kept.sum()) for name, kept in keep.items()}


def by_saliency(setting: Setting) -> dict[str, Tensor]:
    """T_w summed over each channel's weights, layers compared as ``score_norm`` says."""
    scores = filter_saliency(setting.saliency())
    norm = setting.config.score_norm
    if norm == "none":
        return scores
    if norm == "per_param":
        sizes = {layer.name: layer.K for layer in setting.plan.prunable}
        return {name: score / sizes[name] for name, score in scores.items()}
    return {name: score / score.mean().clamp(min=1e-300) for name, score in scores.items()}


def by_ocap(setting: Setting) -> dict[str, Tensor]:
    """:func:`~crisp_loop.prune.scores.channel.ocap` of the prunable layers."""
    names = [layer.name for layer in setting.plan.prunable]
    return ocap(setting.model, setting.batches, names)


def by_capnn(setting: Setting) -> dict[str, Tensor]:
    """:func:`~crisp_loop.prune.scores.channel.capnn` of the prunable layers."""
    names = [layer.name for layer in setting.plan.prunable]
    return capnn(setting.model, setting.batches, names, dict(setting.config.usage) or None)
