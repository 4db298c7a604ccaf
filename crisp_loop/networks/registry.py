"""The networks that an experiment can name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from crisp_loop.core.errors import InputError
from crisp_loop.networks.mobilenet import digits_mobilenet, mobilenetv2
from crisp_loop.networks.resnet import digits_resnet, resnet18, resnet20, resnet50
from crisp_loop.networks.vgg import digits_vgg, vgg16, vgg16_bn
from crisp_loop.networks.vit import vit_tiny_cifar


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
    "digits-vgg": Network(digits_vgg, (1, 8, 8), 10),
    "digits-mobilenet": Network(digits_mobilenet, (1, 8, 8), 10),
    "resnet20": Network(resnet20, (3, 32, 32), 10),
    "vit-tiny-cifar": Network(vit_tiny_cifar, (3, 32, 32), 10),
    "resnet18": Network(resnet18, (3, 224, 224), 1000),
    "resnet50": Network(resnet50, (3, 224, 224), 1000),
    "vgg16": Network(vgg16, (3, 224, 224), 1000),
    "vgg16_bn": Network(vgg16_bn, (3, 224, 224), 1000),
    "mobilenetv2": Network(mobilenetv2, (3, 224, 224), 1000),
}
"""Name to network. Parameter names and shapes are torchvision's where it has the network,
and timm's for the vision transformer."""


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


def parameters(name: str) -> int:
    """Parameters of the registered network ``name`` at its usual number of classes."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(name).parameters())
