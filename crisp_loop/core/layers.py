"""The layer table: what a network computes, without its weights."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from crisp_loop.core.bounded import Count, Rows, Size
from crisp_loop.core.names import Label

STEM, HEAD = "stem", "head"

Sizes = Annotated[tuple[Size, ...], Field(min_length=1, max_length=3)]
Margins = Annotated[tuple[Count, ...], Field(min_length=1, max_length=3)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Layer:
    """One computation of a network that is a matrix product, at one input size.

    A ``conv`` (of one to three spatial dimensions) and a ``linear`` layer have weights, whose
    matrix view is S x K with K ordered (kh, kw, C_in), C_in innermost. A ``matmul`` has none: it
    multiplies two activations, as attention does, one product a group; S and K are those of its
    first factor.

    Tuples have one number a spatial dimension, outermost first. A transposed convolution is no kind
    of its own: it is several plain ones (:mod:`crisp_loop.core.transposed`).
    """

    name: Label
    """Qualified module name, such as ``layer1.0.conv2``."""
    kind: Literal["conv", "linear", "matmul"]
    in_channels: Size
    """Over all groups; a product of activations counts its reduction once a group."""
    out_channels: Size
    kernel: Sizes = (1, 1)
    """(kh, kw); (1, 1) for a linear layer."""
    stride: Sizes = (1, 1)
    padding: Margins = (0, 0)
    dilation: Sizes = (1, 1)
    groups: Size = 1
    input_size: Sizes = (1, 1)
    """(H, W) of the input feature map."""
    output_size: Sizes = (1, 1)
    """(P, Q) of the output feature map."""
    batch: Size = 1
    """Inputs a pass; also the tokens of a linear layer that is applied to a sequence, and the
    columns of a matmul's second factor."""

    def __post_init__(self) -> None:
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"{self.groups} groups do not divide {self.in_channels} and {self.out_channels}"
                " channels"
            )

    @property
    def S(self) -> int:
        """Rows of the weight matrix: output channels over all groups."""
        return self.out_channels

    @property
    def K(self) -> int:
        """Columns of the weight matrix: (C_in / groups) * kh * kw."""
        return self.in_channels // self.groups * prod(self.kernel)

    @property
    def N(self) -> int:
        """Columns of the activation matrix: P * Q * batch."""
        return prod(self.output_size) * self.batch

    @property
    def weights(self) -> int:
        """Number of weights, S * K; 0 for a product of activations."""
        return 0 if self.kind == "matmul" else self.S * self.K

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer, S * K * N."""
        return self.S * self.K * self.N

    @property
    def depthwise(self) -> bool:
        """Whether each input channel has its own filters."""
        return self.kind == "conv" and self.groups > 1 and self.groups == self.in_channels

    def of_inputs(self, count: int) -> Layer:
        """The layer on ``count`` of the network's inputs at once.

        Inputs share weights and add columns; a product of activations is one more product for each.
        """
        if self.weights:
            return replace(self, batch=self.batch * count)
        return replace(
            self,
            groups=self.groups * count,
            in_channels=self.in_channels * count,
            out_channels=self.out_channels * count,
        )


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LayerTable:
    """The matrix products of one network in execution order."""

    model: Label
    parameters: Count
    """All parameters of the network, biases and norms included; the weights alone where only the
    layers are known."""
    layers: Rows[Layer]


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
    if not layer.weights:
        return "a product of activations has no weights"
    if layer.groups > 1:
        return "depthwise" if layer.depthwise else "grouped"
    if layer.in_channels % m:
        return f"{layer.in_channels} input channels are not a multiple of {m}"
    return ""
