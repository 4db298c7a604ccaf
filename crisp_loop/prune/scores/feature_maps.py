"""Feature maps of chosen layers while a model runs, without a trace in the model.

A layer's feature map is what its output becomes on its way to the next layer: the output of the
last batch norm or activation that takes the layer's output tensor directly. Which module takes
which tensor is only known while the model runs, so tensors are followed through forward hooks,
by identity. That needs neither a subclass nor a graph of the model.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation
from torch.nn.modules.batchnorm import _BatchNorm

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.networks.modes import in_mode

_CHANNEL_MIXING = {"GLU", "MultiheadAttention", "Softmin", "Softmax", "Softmax2d", "LogSoftmax"}
"""What torch keeps with the activations though it does more than map each element."""

_ACTIVATIONS = tuple(
    getattr(activation, name) for name in activation.__all__ if name not in _CHANNEL_MIXING
)

Measure = Callable[[Tensor], Tensor]
"""A feature map (B, S, P), P the positions, to values of the same shape."""


@dataclass
class ChannelSums:
    """What a layer's feature map holds, summed over positions."""

    sums: Tensor
    """float64, (B, S): of each sample and channel, the measure summed over all positions."""
    positions: int
    """Positions a sample: pixels or tokens, over all runs of a layer that runs several times."""


Observe = Callable[[Tensor], dict[str, ChannelSums]]
"""Runs the model on one batch of inputs; layer name to sums, in the order of the names."""


@contextmanager
def watch_feature_maps(
    model: nn.Module, names: Sequence[str], measure: Measure, *, activated: bool = True
) -> Iterator[Observe]:
    """Watch the feature maps of the layers ``names`` inside the block.

    The chain from a layer to its feature map goes through batch norms and activations that are
    modules of torch's without children; identities and dropout, which does nothing in evaluation
    mode, do not break it. It ends before anything else: a pooling, an addition, an activation
    that is a function or the caller's own module, a batch norm of the caller's own. As many
    networks activate after the addition, a map is always rectified, clamp(min=0): a channel
    that *fires* is positive. Changes in place count by what the tensor was before them.

    The model runs in evaluation mode and without gradients. The hooks are gone afterwards, also
    after an error. Samples do not see each other, so how they are split into batches does not
    matter (up to the rounding of the model's own arithmetic).

    Args:
        model: Any module that takes one batch of inputs, samples first.
        names: Qualified names of Conv2d and Linear layers.
        measure: Is given each map as (B, S, P), S the layer's output channels, P the
            positions: pixels of a convolution; of a linear layer all axes between the first
            and the last, such as tokens.
        activated: Follow activations and rectify. If False, the map is the output of the last
            batch norm, with its negative values, or of the layer itself.

    Yields:
        A function that runs the model on one batch and returns the sums of what ``measure``
        gives.

    Raises:
        CrispLoopError: a name is no Conv2d or Linear layer; from the function: such a layer
            does not run, or its first axis does not hold the samples of the batch.
    """
    watch = _Watch(measure, (_BatchNorm, *_ACTIVATIONS) if activated else (_BatchNorm,), activated)
    layers: dict[str, nn.Module] = {}
    for name in names:
        layers[name] = _layer(model, name)

    def observe(inputs: Tensor) -> dict[str, ChannelSums]:
        watch.start()
        model(inputs)
        return {name: watch.total(name, len(inputs)) for name in layers}

    hooks: list[Any] = []
    try:
        for name, layer in layers.items():
            hooks.append(layer.register_forward_hook(watch.begins(name)))
        for part in model.modules():
            if isinstance(part, watch.followed) and not any(True for _ in part.children()):
                hooks.append(part.register_forward_pre_hook(watch.arrives))
                hooks.append(part.register_forward_hook(watch.goes_on))
        with torch.no_grad(), in_mode(model, training=False):
            yield observe
    finally:
        for hook in hooks:
            hook.remove()


@dataclass
class _Chain:
    """One run of one layer, followed to where its feature map is."""

    name: str
    linear: bool
    map: ChannelSums
    shape: torch.Size
    head: weakref.ref[Tensor]
    """The newest tensor. Weak, so that watching keeps no tensors alive."""
    version: int
    """Changes in place of that tensor so far."""


class _Watch:
    """The state of one forward pass, and the hooks that move it on."""

    def __init__(
        self, measure: Measure, followed: tuple[type[nn.Module], ...], rectified: bool
    ) -> None:
        self.measure = measure
        self.followed = followed
        self.rectified = rectified
        self.start()

    def start(self) -> None:
        """Forget the pass before."""
        self.chains: dict[str, list[_Chain]] = {}
        self.heads: dict[int, _Chain] = {}
        self.arrived: dict[nn.Module, _Chain] = {}

    def begins(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        """The hook of the layer ``name``, where its chains begin."""

        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            linear = isinstance(layer, nn.Linear)
            chain = _Chain(
                name,
                linear,
                self._measured(output, linear),
                output.shape,
                weakref.ref(output),
                _version(output),
            )
            self.chains.setdefault(name, []).append(chain)
            self.heads[id(output)] = chain

        return hook

    def arrives(self, part: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Before a batch norm or activation: does it take the newest tensor of a chain?"""
        self.arrived.pop(part, None)
        given = inputs[0] if inputs else None
        if not isinstance(given, Tensor):
            return
        chain = self.heads.get(id(given))
        # Numbers of dead tensors are given out again, so the tensor itself is compared too. An
        # addition in place ends a chain though the tensor stays the same one.
        if chain and chain.head() is given and chain.version == _version(given):
            self.arrived[part] = chain

    def goes_on(self, part: nn.Module, inputs: Any, output: Any) -> None:
        """After a batch norm or activation: its output is the chain's newest tensor."""
        chain = self.arrived.pop(part, None)
        if chain is None or not isinstance(output, Tensor) or output.shape != chain.shape:
            return
        # Measured now, as what comes next may overwrite it in place.
        chain.map = self._measured(output, chain.linear)
        self.heads = {key: other for key, other in self.heads.items() if other is not chain}
        self.heads[id(output)] = chain
        chain.head, chain.version = weakref.ref(output), _version(output)

    def total(self, name: str, samples: int) -> ChannelSums:
        """The sums of layer ``name`` over all its runs in this pass of ``samples`` samples."""
        chains = self.chains.get(name)
        if not chains:
            raise CrispLoopError(
                f"Layer {name} does not run in a forward pass, so it has no feature map."
            )
        for chain in chains:
            if len(chain.map.sums) != samples:
                raise CrispLoopError(
                    f"Layer {name} runs on {len(chain.map.sums)} items for a batch of {samples}"
                    f" samples, so its feature maps cannot be told apart by sample."
                )
        sums = torch.stack([chain.map.sums for chain in chains]).sum(dim=0)
        return ChannelSums(sums, sum(chain.map.positions for chain in chains))

    def _measured(self, output: Tensor, linear: bool) -> ChannelSums:
        values = output.detach()
        if linear:
            rows = values if values.ndim > 1 else values.unsqueeze(0)
            values = rows.reshape(len(rows), -1, rows.shape[-1]).transpose(1, 2)
        else:
            values = (values if values.ndim == 4 else values.unsqueeze(0)).flatten(2)
        if self.rectified:
            values = values.clamp(min=0)
        sums = self.measure(values).double().sum(dim=2)
        return ChannelSums(sums, values.shape[2])


def _version(tensor: Tensor) -> int:
    """How often ``tensor`` was changed in place; inference tensors do not count it."""
    return 0 if tensor.is_inference() else tensor._version


def _layer(model: nn.Module, name: str) -> nn.Module:
    """The Conv2d or Linear layer ``name``."""
    try:
        layer = model.get_submodule(name)
    except AttributeError:
        raise CrispLoopError(f"The model has no layer {name}.") from None
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        raise CrispLoopError(f"{name} is a {type(layer).__name__}, not a Conv2d or Linear layer.")
    return layer
