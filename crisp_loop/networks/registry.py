"""The networks that an experiment can name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from crisp_loop.core.errors import InputError
from crisp_loop.networks.mobilenet import mobilenetv2
from crisp_loop.networks.resnet import digits_resnet, resnet50
from crisp_loop.networks.vgg import vgg16, vgg16_bn


@dataclass(frozen=True)
class Network:
    """One entry of the registry."""

    builder: Callable[[int], nn.Module]
    """Number of classes to a network with fresh weights."""
    input_shape: tuple[int, int, int]
    """(C, H, W) of one image."""
    classes: int
    """Outputs unless asked otherwise."""


NETWORKS: dict[str, Network] = {
    "digits-resnet": Network(digits_resnet, (1, 8, 8), 10),
    "resnet50": Network(resnet50, (3, 224, 224), 1000),
    "vgg16": Network(vgg16, (3, 224, 224), 1000),
    "vgg16_bn": Network(vgg16_bn, (3, 224, 224), 1000),
    "mobilenetv2": Network(mobilenetv2, (3, 224, 224), 1000),
}
"""Name to network. Parameter names and shapes are torchvision's where it has the network."""


def network(name: str) -> Network:
    """The registry's entry ``name``.

    Raises:
        InputError: there is none; the message names the known ones.
    """
    if name not in NETWORKS:
        raise InputError("network", "", name, f"the known ones are {', '.join(NETWORKS)}")
    return NETWORKS[name]


def build(name: str, num_classes: int | None = None) -> nn.Module:
    """A network with fresh weights, drawn from torch's global generator.

    Args:
        name: One of :data:`NETWORKS`.
        num_classes: Outputs; the registry's number when None.
    """
    entry = network(name)
    classes = entry.classes if num_classes is None else num_classes
    if classes < 1:
        raise InputError("network", "num_classes", classes, "expected at least one class")
    return entry.builder(classes)
