"""Which output channels stay, for a number of weights to prune."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from crisp_loop.core.errors import CrispLoopError


def choose_channels(
    scores: Mapping[str, Tensor], weights_per_channel: Mapping[str, int], zeros: int
) -> dict[str, Tensor]:
    """Prune whole channels, the lowest scores of all layers first, until enough weights are gone.

    Channels are ordered by score; of equal ones the earlier layer's first, and within a
    layer the earlier channel. They are pruned in that order, but for the last one of each
    layer, which stays. No fewer channels in that order would do. The weights that *other* layers
    spend on a pruned channel as their input are not counted.

    Args:
        scores: Layer name to scores (S,), bigger means keep, comparable between layers; in the
            order of layers.
        weights_per_channel: Layer name to the weights of one of its channels.
        zeros: Weights to prune, at least.

    Returns:
        Layer name to bool (S,), True where the channel stays.

    Raises:
        CrispLoopError: more weights are asked for than lie outside of the last channels, a
            score is NaN, or a layer's weights are not given.
    """
    keep: dict[str, Tensor] = {}
    for name, score in scores.items():
        if name not in weights_per_channel or weights_per_channel[name] < 1:
            raise CrispLoopError(f"The weights a channel of layer {name} holds are not known.")
        if score.ndim != 1 or not len(score) or score.isnan().any():
            raise CrispLoopError(f"The scores of layer {name} are not one number a channel.")
        keep[name] = torch.ones(len(score), dtype=torch.bool)
    most = sum(weights_per_channel[name] * (len(mask) - 1) for name, mask in keep.items())
    if zeros > most:
        raise CrispLoopError(
            f"{zeros:,} weights cannot be pruned by whole channels: with one channel kept in each"
            f" layer, the most is {most:,}."
        )
    places = [(name, channel) for name, mask in keep.items() for channel in range(len(mask))]
    if zeros > 0:
        together = torch.cat([score.detach().double().cpu() for score in scores.values()])
        left = {name: len(mask) for name, mask in keep.items()}
        gone = 0
        for place in together.argsort(stable=True).tolist():
            if gone >= zeros:
                break
            name, channel = places[place]
            if left[name] > 1:
                keep[name][channel] = False
                left[name] -= 1
                gone += weights_per_channel[name]
    return {name: mask.to(scores[name].device) for name, mask in keep.items()}
