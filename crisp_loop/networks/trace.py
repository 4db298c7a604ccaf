"""The layer table of a network, from a forward pass on shapes alone (no weights, no data)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.layers import Layer, LayerTable
from crisp_loop.networks.modes import in_mode
from crisp_loop.networks.registry import build, network
from crisp_loop.networks.tensors import places_of_tensors


def layer_table(
    model: str | nn.Module,
    input_shape: tuple[int, ...] | None = None,
    batch: int = 1,
    num_classes: int | None = None,
    name: str | None = None,
) -> LayerTable:
    """The Conv2d and Linear layers of a network in the order in which they run.

    The pass runs on torch's meta device: only shapes are computed, and the module's weights,
    buffers and modes stay as they are. A layer that runs several times on one size (shared
    weights) is listed once, with its inputs added up in ``batch``. ResNet-50 takes some 60 ms;
    the first pass of a process adds about a second in which torch imports its own parts.

    Args:
        model: A name of the registry, or any module that takes one tensor.
        input_shape: Shape of one input, without the batch: (C, H, W) for images. The
            registry's shape when None; a module needs one.
        batch: Inputs a pass.
        num_classes: Outputs of a registered network; its usual number when None.
        name: The table's ``model``; by default the registered name or the class name.

    Raises:
        InputError: an unknown name, or a shape that the network does not take.
    """
    if isinstance(model, str):
        input_shape = input_shape or network(model).input_shape
        with torch.device("meta"):
            module = build(model, num_classes)
        name = name or model
    else:
        module = model
        name = name or type(model).__name__
    if not input_shape or min(input_shape) < 1 or batch < 1:
        shown = (batch, *(input_shape or ()))
        raise InputError(name, "input_shape", shown, "expected the shape of one input, (C, H, W)")
    layers = _run(module, (batch, *input_shape), name)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return LayerTable(model=name, parameters=parameters, layers=tuple(layers))


def _run(module: nn.Module, shape: tuple[int, ...], name: str) -> list[Layer]:
    """Run ``module`` on a meta tensor of ``shape``, noting each conv and linear layer."""
    found: dict[str, Layer] = {}

    def note(layer_name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            entry = _layer(layer_name, layer, inputs[0], output)
            earlier = found.get(layer_name)
            if earlier is not None:
                if earlier.input_size != entry.input_size:
                    raise CrispLoopError(
                        f"{name}: layer {layer_name} runs on inputs of {earlier.input_size} and"
                        f" {entry.input_size}; a layer table holds one size a layer."
                    )
                entry = replace(entry, batch=earlier.batch + entry.batch)
            found[layer_name] = entry

        return hook

    hooks = [
        layer.register_forward_hook(note(layer_name))
        for layer_name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    tensors = places_of_tensors(module)
    weightless = {key: value.detach().to("meta") for key, value in tensors.items()}
    dtype = next((value.dtype for value in weightless.values() if value.is_floating_point()), None)
    try:
        with torch.no_grad(), in_mode(module, training=False):
            # The swap is undone by functional_call, errors included.
            images = torch.empty(shape, device="meta", dtype=dtype)
            torch.func.functional_call(module, weightless, (images,), tie_weights=False)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error) else repr(error)
        raise InputError(name, "input_shape", shape, f"the network refuses it: {reason}") from None
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values())


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _layer(name: str, layer: nn.Module, given: Tensor, made: Tensor) -> Layer:
    """The table's entry of a module that turned the tensor ``given`` into ``made``."""
    if isinstance(layer, nn.Linear):
        return Layer(
            name=name,
            kind="linear",
            in_channels=layer.in_features,
            out_channels=layer.out_features,
            batch=given.numel() // layer.in_features,
        )
    assert isinstance(layer, nn.Conv2d)
    kernel, dilation = _pair(layer.kernel_size), _pair(layer.dilation)
    if layer.padding == "same":
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = (reach[0] // 2, reach[1] // 2)
    else:
        padding = (0, 0) if isinstance(layer.padding, str) else _pair(layer.padding)
    return Layer(
        name=name,
        kind="conv",
        in_channels=layer.in_channels,
        out_channels=layer.out_channels,
        kernel=kernel,
        stride=_pair(layer.stride),
        padding=padding,
        dilation=dilation,
        groups=layer.groups,
        input_size=_pair(tuple(given.shape[-2:])),
        output_size=_pair(tuple(made.shape[-2:])),
        batch=given.shape[0] if given.ndim == 4 else 1,
    )
