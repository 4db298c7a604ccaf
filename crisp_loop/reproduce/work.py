"""How much work a pruned network leaves, once channels that nothing reaches are taken out.

A pruned output channel is a constant: its batch norm's offset, say. What the next layer multiplies
by it can be added up beforehand, so whoever removes channels saves that work too. Which input
channels are constant is found by a flow: with kept weights as positive numbers, without offsets,
an image of ones gives zero exactly where no path of kept weights leads.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from crisp_loop.core.layers import Layer, LayerTable
from crisp_loop.core.masks import BoolArray


def reached_macs(model: nn.Module, table: LayerTable, masks: Mapping[str, BoolArray]) -> int:
    """Multiply-accumulates of one image with a kept weight and an input that is no constant.

    Outputs that no later layer reads are counted all the same.

    Args:
        model: The network; its weights do not matter, and it is left as it is.
        table: Its layers.
        masks: Layer name to mask in the weight's layout, True where kept; other layers are dense.

    Raises:
        ValueError: a layer of ``table`` does not run.
    """
    reached = reached_inputs(model, table, masks)
    return sum(_macs(layer, masks.get(layer.name), reached[layer.name]) for layer in table.layers)


def reached_inputs(
    model: nn.Module, table: LayerTable, masks: Mapping[str, BoolArray]
) -> dict[str, BoolArray]:
    """Which input channels of each layer depend on the image, bool (C_in).

    Networks with layer norms are not followed: all of their channels count as reached.
    """
    if any(isinstance(module, nn.LayerNorm | nn.GroupNorm) for module in model.modules()):
        return {layer.name: np.ones(layer.in_channels, np.bool_) for layer in table.layers}
    flow = copy.deepcopy(model).to("cpu", torch.float64).eval()
    found: dict[str, BoolArray] = {}
    with torch.no_grad():
        for module in flow.modules():
            if isinstance(module, _BatchNorm):
                module.reset_running_stats()  # mean 0, variance 1
            for name, value in module.named_parameters(recurse=False):
                if name == "bias":
                    value.zero_()
                elif value.ndim > 1:
                    # A mean over the fan-in, so that no depth overflows.
                    value.fill_(1 / max(1, value[0].numel()))
                else:
                    value.fill_(1)
        for layer in table.layers:
            module = flow.get_submodule(layer.name)
            if (mask := masks.get(layer.name)) is not None:
                module.weight.mul_(torch.from_numpy(np.ascontiguousarray(mask)))  # type: ignore[operator]
            module.register_forward_pre_hook(_watcher(layer.name, found))
        first = table.layers[0]
        flow(torch.ones(1, first.in_channels, *first.input_size, dtype=torch.float64))
    for layer in table.layers:
        if layer.name not in found:
            raise ValueError(f"layer {layer.name} does not run")
    return found


def _watcher(
    name: str, found: dict[str, BoolArray]
) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach()
        if isinstance(module, nn.Linear):
            values = values.reshape(-1, values.shape[-1])
        else:
            values = values.transpose(0, 1).flatten(1).T
        live = (values != 0).any(dim=0).numpy()
        found[name] = found[name] | live if name in found else live

    return hook


def _macs(layer: Layer, mask: BoolArray | None, reached: BoolArray) -> int:
    """Of one layer: its weights that are kept and whose input is reached, times its outputs."""
    inputs = layer.in_channels // layer.groups
    kept = np.ones((layer.S, inputs, 1)) if mask is None else mask.reshape(layer.S, inputs, -1)
    positions = layer.K // inputs if mask is None else 1
    # Row o of a grouped layer sees the input channels of its own group.
    group = np.arange(layer.S) * layer.groups // layer.S
    channels = group[:, None] * inputs + np.arange(inputs)
    weights = (kept.sum(axis=2) * reached[channels]).sum()
    return int(weights) * positions * layer.N
