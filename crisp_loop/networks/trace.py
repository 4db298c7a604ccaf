"""The layer table of a network, from a forward pass on shapes alone (no weights, no data)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.layers import Layer, LayerTable
from crisp_loop.networks.convolution import convolutions
from crisp_loop.networks.functional import Products
from crisp_loop.networks.modes import in_mode
from crisp_loop.networks.registry import build, network
from crisp_loop.networks.tensors import places_of_tensors

_Module = type[nn.Module]
PRUNED: tuple[_Module, ...] = (nn.Conv2d, nn.Linear)
"""The modules that pruning knows."""
PRICED: tuple[_Module, ...] = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
"""The modules that are matrix products."""


def layer_table(
    model: str | nn.Module,
    input_shape: tuple[int, ...] | None = None,
    batch: int = 1,
    num_classes: int | None = None,
    name: str | None = None,
) -> LayerTable:
    """The Conv2d and Linear layers of a network, which can be pruned, in the order of their run.

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
    module, shape, name = _subject(model, input_shape, batch, num_classes, name)
    found = _Found(name)
    with _watched(module, PRUNED, found):
        _run(module, shape, name, _weightless(module))
    return _table(module, name, found)


def operation_table(
    model: str | nn.Module,
    input_shape: tuple[int, ...] | None = None,
    batch: int = 1,
    num_classes: int | None = None,
    name: str | None = None,
) -> LayerTable:
    """Everything of a network that is a matrix product, in the order of the run.

    Beside the layers of :func:`layer_table` these are convolutions of one and three dimensions,
    transposed ones (one layer a phase, :mod:`crisp_loop.core.transposed`), weights that are
    multiplied without a module of their own (named by the parameter), and products of two
    activations: attention's scores and its weighted sums. Such a product is named after the module
    that computes it, ``blocks.0.attn.matmul0``; its groups are heads x batch.

    Arguments and errors are those of :func:`layer_table`.
    """
    module, shape, name = _subject(model, input_shape, batch, num_classes, name)
    found = _Found(name)
    weightless = _weightless(module)
    with _watched(module, PRICED, found) as inside, Products(module, inside, found.add) as products:
        products.learn(weightless)
        _run(module, shape, name, weightless)
    return _table(module, name, found)


def _subject(
    model: str | nn.Module,
    input_shape: tuple[int, ...] | None,
    batch: int,
    num_classes: int | None,
    name: str | None,
) -> tuple[nn.Module, tuple[int, ...], str]:
    """The module to run, the shape of its input with the batch, and what to call it."""
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
    return module, (batch, *input_shape), name


class _Found:
    """The layers met so far, by name."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.layers: dict[str, Layer] = {}

    def add(self, entry: Layer) -> None:
        """Note a layer; one that ran before gets its inputs added up."""
        earlier = self.layers.get(entry.name)
        if earlier is not None:
            if earlier.input_size != entry.input_size:
                raise CrispLoopError(
                    f"{self.model}: layer {entry.name} runs on inputs of {earlier.input_size} and"
                    f" {entry.input_size}; a layer table holds one size a layer."
                )
            entry = replace(entry, batch=earlier.batch + entry.batch)
        self.layers[entry.name] = entry


def _table(module: nn.Module, name: str, found: _Found) -> LayerTable:
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return LayerTable(model=name, parameters=parameters, layers=tuple(found.layers.values()))


@contextmanager
def _watched(
    module: nn.Module, kinds: tuple[_Module, ...], found: _Found
) -> Iterator[list[nn.Module]]:
    """Note each run of a submodule of ``kinds``; yields those that are running at a time."""
    running: list[nn.Module] = []
    hooks: list[RemovableHandle] = []

    def enter(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        running.append(layer)

    def noting(name: str) -> Callable[..., None]:
        def leave(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            running.pop()
            for entry in _layers(name, layer, inputs[0], output):
                found.add(entry)

        return leave

    for name, layer in module.named_modules():
        if isinstance(layer, kinds):
            hooks.append(layer.register_forward_pre_hook(enter))
            hooks.append(layer.register_forward_hook(noting(name)))
    try:
        yield running
    finally:
        for hook in hooks:
            hook.remove()


def _weightless(module: nn.Module) -> dict[str, Tensor]:
    """Stand-ins of a module's tensors that have shapes alone."""
    return {key: value.detach().to("meta") for key, value in places_of_tensors(module).items()}


def _run(
    module: nn.Module,
    shape: tuple[int, ...],
    name: str,
    weightless: dict[str, Tensor],
) -> None:
    """Run ``module`` with ``weightless`` tensors for its own on a meta tensor of ``shape``."""
    dtype = next((value.dtype for value in weightless.values() if value.is_floating_point()), None)
    try:
        with torch.no_grad(), in_mode(module, training=False):
            # The swap is undone by functional_call, errors included.
            images = torch.empty(shape, device="meta", dtype=dtype)
            torch.func.functional_call(module, weightless, (images,), tie_weights=False)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error) else repr(error)
        raise InputError(name, "input_shape", shape, f"the network refuses it: {reason}") from None


def _sizes(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _layers(name: str, layer: nn.Module, given: Tensor, made: Tensor) -> list[Layer]:
    """The table's entries of a module that turned the tensor ``given`` into ``made``."""
    if isinstance(layer, nn.Linear):
        entry = Layer(
            name=name,
            kind="linear",
            in_channels=layer.in_features,
            out_channels=layer.out_features,
            batch=given.numel() // layer.in_features,
        )
        return [entry]
    assert isinstance(layer, nn.modules.conv._ConvNd)
    kernel, dilation = _sizes(layer.kernel_size), _sizes(layer.dilation)
    if layer.padding == "same":
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    else:
        padding = (0,) * len(kernel) if isinstance(layer.padding, str) else _sizes(layer.padding)
    weight = _sizes(tuple(layer.weight.shape))
    return convolutions(
        name, weight, given, made, _sizes(layer.stride), padding, dilation, layer.groups,
        layer.transposed,
    )  # fmt: skip
