"""What a line of a layer list says, and the layers that it stands for."""

from __future__ import annotations

import re
from math import prod
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from crisp_loop.core.layers import Layer
from crisp_loop.core.names import Name
from crisp_loop.core.transposed import MOST_PHASES, output_size, phases

LARGEST = 2**31 - 1
Size = Annotated[int, Field(ge=1, le=LARGEST)]
Margin = Annotated[int, Field(ge=0, le=LARGEST)]


def _split(value: Any) -> Any:
    """``3x3`` and ``[3]`` as a tuple; a plain number stays one, for every dimension."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\[)?\s*(\d{1,10}(\s*x\s*\d{1,10})*)\s*(\])?\s*", value)
    if not match or bool(match[1]) != bool(match[4]):
        raise ValueError("expected a whole number, or one a dimension as 3x3, [3, 3] or [3]")
    parts = [int(part) for part in match[2].split("x")]
    return parts if match[1] or len(parts) > 1 else parts[0]


Sizes = Annotated[Size | tuple[Size, ...], BeforeValidator(_split)]
Margins = Annotated[Margin | tuple[Margin, ...], BeforeValidator(_split)]
_BY_KIND = {
    "conv": "input_size or output_size",
    "conv_transpose": "input_size",
}
_SPATIAL = (
    "kernel",
    "stride",
    "padding",
    "dilation",
    "output_padding",
    "input_size",
    "output_size",
)


class LayerEntry(BaseModel):
    """One layer of a list. Sizes are one number for all dimensions, ``3x3`` or ``[3, 3]``.

    A ``matmul`` multiplies two activations, Z[M, N] = A[M, K] B[K, N], ``groups`` times (heads x
    batch): K is its ``in_channels``, M its ``out_channels``, N its ``batch``, all of one group.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    kind: Literal["conv", "conv_transpose", "linear", "matmul"]
    in_channels: Size
    """Over all groups, except in a matmul."""
    out_channels: Size
    kernel: Sizes = 1
    """One to three dimensions."""
    stride: Sizes = 1
    padding: Margins = 0
    """On each side."""
    dilation: Sizes = 1
    output_padding: Margins = 0
    """Of a transposed convolution: outputs added at one side."""
    groups: Size = 1
    input_size: Sizes | None = None
    """(H, W); needed unless ``output_size`` is given."""
    output_size: Sizes | None = None
    """(P, Q); computed where it is not given."""
    batch: Size = 1
    """Inputs a pass, tokens of a linear layer, columns of a matmul."""

    @model_validator(mode="after")
    def _agrees(self) -> LayerEntry:
        spatial = self.kind in _BY_KIND
        unused = [] if spatial else [name for name in _SPATIAL if name in self.model_fields_set]
        if unused and any(getattr(self, name) not in (None, 0, 1) for name in unused):
            raise ValueError(f"a {self.kind} layer has no {unused[0]}")
        if not spatial:
            if self.kind == "linear" and self.groups > 1:
                raise ValueError("a linear layer has no groups; expected kind conv or matmul")
            return self
        if len(lengths := self._lengths()) > 1:
            raise ValueError(f"sizes of {' and '.join(map(str, sorted(lengths)))} dimensions mixed")
        if not 1 <= self._axes <= 3:
            raise ValueError(f"{self._axes} spatial dimensions; expected 1 to 3")
        if self.input_size is None and (self.kind != "conv" or self.output_size is None):
            raise ValueError(f"a {self.kind} layer needs {_BY_KIND[self.kind]}")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"{self.groups} groups do not divide {self.in_channels} and {self.out_channels}"
                " channels"
            )
        if self.kind == "conv_transpose" and prod(self._each(self.stride)) > MOST_PHASES:
            raise ValueError(f"strides that make more than {MOST_PHASES} convolutions")
        made = self._output_size()
        if min(made) < 1:
            raise ValueError(f"the kernel reaches beyond the input: the output would be {made}")
        if self.output_size is not None and self._each(self.output_size) != made:
            raise ValueError(f"output_size does not follow from the rest, which gives {made}")
        if any(extra >= step for extra, step in zip(*self._pairs("output_padding"), strict=True)):
            raise ValueError("output_padding must be smaller than stride")
        return self

    def _pairs(self, field: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self._each(getattr(self, field)), self._each(self.stride)

    def _lengths(self) -> set[int]:
        values = [getattr(self, name) for name in _SPATIAL]
        return {len(value) for value in values if isinstance(value, tuple)}

    @property
    def _axes(self) -> int:
        """Spatial dimensions: those of the sizes that are written out, else two."""
        return max(self._lengths(), default=2)

    def _each(self, value: int | tuple[int, ...]) -> tuple[int, ...]:
        return value if isinstance(value, tuple) else (value,) * self._axes

    def _output_size(self) -> tuple[int, ...]:
        if self.input_size is None:
            assert self.output_size is not None
            return self._each(self.output_size)
        inputs, kernel = self._each(self.input_size), self._each(self.kernel)
        stride, padding = self._each(self.stride), self._each(self.padding)
        dilation = self._each(self.dilation)
        if self.kind == "conv_transpose":
            extra = self._each(self.output_padding)
            return output_size(inputs, kernel, stride, padding, dilation, extra)
        sides = zip(inputs, kernel, stride, padding, dilation, strict=True)
        return tuple((i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d in sides)

    def layers(self) -> list[Layer]:
        """The layer, or the phases of a transposed convolution."""
        if self.kind == "matmul":
            channels = self.groups * self.in_channels, self.groups * self.out_channels
            return [Layer(self.name, "matmul", *channels, groups=self.groups, batch=self.batch)]
        if self.kind == "linear":
            channels = self.in_channels, self.out_channels
            return [Layer(self.name, "linear", *channels, batch=self.batch)]
        kernel, stride, padding, dilation = (
            self._each(value) for value in (self.kernel, self.stride, self.padding, self.dilation)
        )
        outputs = self._output_size()
        if self.kind == "conv_transpose":
            assert self.input_size is not None
            return phases(
                self.name, self.in_channels, self.out_channels, kernel, stride, padding, dilation,
                self.groups, self._each(self.input_size), outputs, self.batch,
            )  # fmt: skip
        if self.input_size is None:  # the smallest input that makes this output
            sides = zip(outputs, kernel, stride, padding, dilation, strict=True)
            inputs = tuple(max(1, (o - 1) * s + d * (k - 1) + 1 - 2 * p) for o, k, s, p, d in sides)
        else:
            inputs = self._each(self.input_size)
        layer = Layer(
            self.name, "conv", self.in_channels, self.out_channels, kernel, stride, padding,
            dilation, self.groups, inputs, outputs, self.batch,
        )  # fmt: skip
        return [layer]
