"""A transposed convolution as the plain convolutions that it consists of.

With stride s, output o takes the taps t of the kernel with o + p - d * t divisible by s, and those
depend on (o + p) mod s alone. So the outputs of one phase are a plain convolution of stride 1 over
the input, with a share of the kernel's taps, and the phases' outputs interleave (Shi et al.,
arXiv:1609.07009, the sub-pixel convolution). Every weight belongs to one phase, every output is
written once, and nothing is multiplied with the zeros that other accounts insert into the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import gcd, prod

from crisp_loop.core.layers import Layer
from crisp_loop.core.pattern import blocks_over

MOST_PHASES = 4096
"""Plain convolutions that a transposed one may consist of; strides of 2 make 4 or 8."""


def output_size(
    inputs: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    output_padding: Sequence[int],
) -> tuple[int, ...]:
    """Outputs along each dimension: (i - 1) * s - 2p + d * (k - 1) + extra + 1, as in PyTorch."""
    each = zip(inputs, kernel, stride, padding, dilation, output_padding, strict=True)
    return tuple((i - 1) * s - 2 * p + d * (k - 1) + extra + 1 for i, k, s, p, d, extra in each)


def phases(
    name: str,
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    input_size: tuple[int, ...],
    output_size: tuple[int, ...],
    batch: int,
) -> list[Layer]:
    """The plain convolutions that make up a transposed one, named ``name.phase0x1`` and so on.

    A phase without taps (a stride larger than the kernel) holds biases alone and is left out;
    with stride 1 there is one phase, called ``name``. Inputs beyond the map's edge count as zeros,
    like a plain convolution's padding.

    Raises:
        ValueError: it has more than :data:`MOST_PHASES`.
    """
    if prod(stride) > MOST_PHASES:
        raise ValueError(f"strides of {stride} make more than {MOST_PHASES} convolutions")
    sides = [
        _phases_along(*each)
        for each in zip(kernel, stride, padding, dilation, output_size, strict=True)
    ]
    steps = tuple(d // gcd(s, d) for s, d in zip(stride, dilation, strict=True))
    found = []
    for phase in product(*(range(s) for s in stride)):
        taps = tuple(side[r][0] for side, r in zip(sides, phase, strict=True))
        outputs = tuple(side[r][1] for side, r in zip(sides, phase, strict=True))
        if 0 in taps or 0 in outputs:
            continue
        found.append(
            Layer(
                name=f"{name}.phase{'x'.join(map(str, phase))}" if max(stride) > 1 else name,
                kind="conv",
                in_channels=in_channels,
                out_channels=out_channels,
                kernel=taps,
                stride=(1,) * len(taps),
                padding=tuple(d * (t - 1) for d, t in zip(steps, taps, strict=True)),
                dilation=steps,
                groups=groups,
                input_size=input_size,
                output_size=outputs,
                batch=batch,
            )
        )
    return found


def _phases_along(
    kernel: int, stride: int, padding: int, dilation: int, outputs: int
) -> list[tuple[int, int]]:
    """(taps, outputs) of each phase along one dimension."""
    period = stride // gcd(stride, dilation)
    taps = [0] * stride
    for first in range(min(kernel, period)):  # of the taps of its phase; the others follow
        taps[first * dilation % stride] = blocks_over(kernel - first, period)
    earliest = [(phase - padding) % stride for phase in range(stride)]
    return [
        (count, max(0, blocks_over(outputs - output, stride)))
        for count, output in zip(taps, earliest, strict=True)
    ]
