"""The layer table: what a network computes, without its weights."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

STEM, HEAD = "stem", "head"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Layer:
    """One convolution or linear layer of a network, at one input size.

    The weight's matrix view is S x K with K ordered (kh, kw, C_in), C_in innermost.
    """

    name: str
    """Qualified module name, such as ``layer1.0.conv2``."""
    kind: Literal["conv", "linear"]
    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    """(kh, kw); (1, 1) for a linear layer."""
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    input_size: tuple[int, int] = (1, 1)
    """(H, W) of the input feature map."""
    output_size: tuple[int, int] = (1, 1)
    """(P, Q) of the output feature map."""
    batch: int = 1
    """Inputs a pass; also the tokens of a linear layer that is applied to a sequence."""

    @property
    def S(self) -> int:
        """Rows of the weight matrix: output channels over all groups."""
        return self.out_channels

    @property
    def K(self) -> int:
        """Columns of the weight matrix: (C_in / groups) * kh * kw."""
        return self.in_channels // self.groups * self.kernel[0] * self.kernel[1]

    @property
    def N(self) -> int:
        """Columns of the activation matrix: P * Q * batch."""
        return self.output_size[0] * self.output_size[1] * self.batch

    @property
    def weights(self) -> int:
        """Number of weights, S * K."""
        return self.S * self.K

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer, S * K * N."""
        return self.weights * self.N

    @property
    def depthwise(self) -> bool:
        """Whether each input channel has its own filters."""
        return self.groups > 1 and self.groups == self.in_channels


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LayerTable:
    """The conv and linear layers of one network in execution order."""

    model: str
    parameters: int
    """All parameters of the network, biases and norms included."""
    layers: tuple[Layer, ...]


def roles(table: LayerTable) -> dict[str, str]:
    """The ``stem`` (first layer, if a convolution) and the ``head`` (last one, if linear).

    Pruning leaves both dense unless asked; with :func:`unfit`, what remains of ResNet-50 is the
    paper's 52 convolutions.
    """
    found: dict[str, str] = {}
    if table.layers and table.layers[-1].kind == "linear":
        found[table.layers[-1].name] = HEAD
    if table.layers and table.layers[0].kind == "conv":
        found[table.layers[0].name] = STEM
    return found


def unfit(layer: Layer, m: int) -> str:
    """Why a layer cannot hold an N:M pattern; empty if it can.

    Groups run along input channels and may not reach into the next kernel position.
    """
    if layer.groups > 1:
        return "depthwise" if layer.depthwise else "grouped"
    if layer.in_channels % m:
        return f"{layer.in_channels} input channels are not a multiple of {m}"
    return ""
