"""The matrix products of an ONNX graph: Conv, ConvTranspose, Gemm and MatMul.

Needs the package ``onnx``, which infers the shapes; weights are not read. Constants count as
weights, whether they are initializers or outputs of Constant nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from crisp_loop.core.bounded import Count, Size
from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import is_file, validated
from crisp_loop.core.layers import Layer, LayerTable
from crisp_loop.core.transposed import phases

Shape = tuple[int, ...]


def read(path: Path) -> LayerTable:
    """The layers of an ONNX file, named as its nodes.

    A first dimension of an input that has a name instead of a size is a batch and taken as 1.

    Raises:
        CrispLoopError: ``onnx`` is not installed, the file is none or is damaged, or a shape does
            not follow from it.
    """
    try:
        onnx: Any = import_module("onnx")
    except ImportError:
        raise CrispLoopError(
            f"{path}: reading ONNX files needs the package onnx; pip install 'crisp-loop[onnx]'."
        ) from None
    if not is_file(path):
        raise CrispLoopError(f"{path}: no such layer file.")
    try:
        model = onnx.load(str(path), load_external_data=False)
        for given in model.graph.input:
            dims = given.type.tensor_type.shape.dim
            if dims and not dims[0].HasField("dim_value"):
                dims[0].dim_value = 1
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # onnx raises protobuf's errors, its own, and plain ones
        reason = (str(error).strip().splitlines() or [repr(error)])[0].rstrip(".")
        raise CrispLoopError(f"{path} is not a readable ONNX graph: {reason[:300]}.") from None
    graph = _Graph(path)
    graph.learn(model.graph)
    layers = tuple(
        layer for index, node in enumerate(model.graph.node) for layer in graph.layers(node, index)
    )
    return LayerTable(model.graph.name or path.stem, sum(each.weights for each in layers), layers)


class _Window(BaseModel):
    """The attributes of a convolution that matter here; one that is not given is empty."""

    model_config = ConfigDict(extra="ignore")

    strides: tuple[Size, ...] = ()
    dilations: tuple[Size, ...] = ()
    pads: tuple[Count, ...] = ()
    group: Size = 1


@dataclass
class _Graph:
    """The shapes of a graph's tensors, and which of them are constants."""

    path: Path
    shapes: dict[str, Shape | None] = field(default_factory=dict)
    """None for a tensor of unknown shape."""
    constants: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    """Names that layers have already."""

    def learn(self, graph: Any) -> None:
        for each in (*graph.input, *graph.value_info, *graph.output):
            dims = each.type.tensor_type.shape.dim
            known = all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims)
            self.shapes[each.name] = tuple(dim.dim_value for dim in dims) if known else None
        for each in graph.initializer:
            self.shapes[each.name] = tuple(each.dims)
            self.constants.add(each.name)
        for node in graph.node:
            # Weights of quantised and of transposed graphs reach their layer through a few nodes.
            if node.op_type == "Constant" or (
                node.input and all(name in self.constants for name in node.input)
            ):
                self.constants.update(node.output)

    def layers(self, node: Any, index: int) -> list[Layer]:
        """The layers that a node is; none of a node that is no matrix product."""
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            return []
        if all(name in self.constants for name in node.input):
            return []
        name = node.name or f"{node.op_type}_{index}"
        if name in self.taken:
            name = f"{name}_{index}"
        self.taken.add(name)
        if node.op_type in ("Conv", "ConvTranspose"):
            return self._convolution(node, name)
        first, second = self._shape(node, 0), self._shape(node, 1)
        if node.op_type == "Gemm":
            options = _attributes(node)
            first = first[::-1] if options.get("transA") else first
            second = second[::-1] if options.get("transB") else second
        return [self._product(node, name, first, second)]

    def _shape(self, node: Any, index: int, of: str = "input") -> Shape:
        tensors = getattr(node, of)
        tensor = tensors[index] if index < len(tensors) else ""
        shape = self.shapes.get(tensor)
        if not shape:
            raise InputError(
                self.path, node.name or node.op_type, tensor,
                "its shape does not follow from the graph; export it with fixed sizes",
            )  # fmt: skip
        return shape

    def _convolution(self, node: Any, name: str) -> list[Layer]:
        given, weight = self._shape(node, 0), self._shape(node, 1)
        made = self._shape(node, 0, "output")
        kernel = weight[2:]
        axes = len(kernel)
        options = validated(_attributes(node), _Window, f"{self.path}: {name}")
        stride = options.strides or (1,) * axes
        dilation = options.dilations or (1,) * axes
        padding = (options.pads or (0,) * axes)[:axes]
        groups = options.group
        ranks = [len(each) for each in (given[2:], made[2:], stride, dilation, padding)]
        if not 1 <= axes <= 3 or set(ranks) != {axes}:
            raise InputError(
                self.path, name, weight,
                "expected a weight, shapes and attributes of one to three spatial dimensions each",
            )  # fmt: skip
        if node.op_type == "ConvTranspose":
            return phases(
                name, weight[0], weight[1] * groups, kernel, stride, padding, dilation, groups,
                given[2:], made[2:], given[0],
            )  # fmt: skip
        layer = Layer(
            name, "conv", weight[1] * groups, weight[0], kernel, stride, padding, dilation, groups,
            given[2:], made[2:], given[0],
        )  # fmt: skip
        return [layer]

    def _product(self, node: Any, name: str, first: Shape, second: Shape) -> Layer:
        """Y = A B: linear where B, or A, is a constant matrix, else a product of activations."""
        # Vectors are matrices of one row or column.
        first = (1, *first) if len(first) == 1 else first
        second = (*second, 1) if len(second) == 1 else second
        rows, reduced, columns = first[-2], first[-1], second[-1]
        if node.input[1] in self.constants and prod(second[:-2]) == 1:
            inputs = prod(first[:-1])
            return Layer(name, "linear", reduced, columns, batch=inputs)
        if node.input[0] in self.constants and prod(first[:-2]) == 1:
            inputs = prod(second[:-2]) * columns
            return Layer(name, "linear", reduced, rows, batch=inputs)
        groups = max(prod(first[:-2]), prod(second[:-2]))
        channels = groups * reduced, groups * rows
        return Layer(name, "matmul", *channels, groups=groups, batch=columns)


def _attributes(node: Any) -> dict[str, Any]:
    """Attributes of a node by name; those that a function would fill in are left out."""
    onnx: Any = import_module("onnx")
    given = [each for each in node.attribute if not each.ref_attr_name]
    return {each.name: onnx.helper.get_attribute_value(each) for each in given}
