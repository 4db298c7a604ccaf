"""The layer table's entries of a convolution that ran."""

from __future__ import annotations

from torch import Tensor

from crisp_loop.core.layers import Layer
from crisp_loop.core.transposed import phases

Sizes = tuple[int, ...]


def convolutions(
    name: str,
    weight: Sizes,
    given: Tensor,
    made: Tensor,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
    transposed: bool,
) -> list[Layer]:
    """One layer, or one a phase of a transposed convolution.

    Args:
        name: What to call it.
        weight: Shape of the weight: (C_out, C_in / groups, kernel...), for a transposed one
            (C_in, C_out / groups, kernel...).
        given: The input, (batch, C_in, sizes...) or without the batch.
        made: The output.
        stride: One number a spatial dimension, as of ``padding`` and ``dilation``.
        padding: On each side.
        dilation: Distance of two taps.
        groups: Groups of channels.
        transposed: Whether it is a transposed convolution.
    """
    kernel = weight[2:]
    axes = len(kernel)
    inputs, outputs = tuple(given.shape[-axes:]), tuple(made.shape[-axes:])
    batch = given.shape[0] if given.ndim == axes + 2 else 1
    if transposed:
        channels = weight[0], weight[1] * groups
        return phases(
            name, *channels, kernel, stride, padding, dilation, groups, inputs, outputs, batch
        )
    entry = Layer(
        name=name,
        kind="conv",
        in_channels=weight[1] * groups,
        out_channels=weight[0],
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        input_size=inputs,
        output_size=outputs,
        batch=batch,
    )
    return [entry]
