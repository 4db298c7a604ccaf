"""A transposed convolution's phases against torch's own transposed convolution."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from crisp_loop.core.transposed import output_size, phases


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 5), stride=st.integers(1, 4), padding=st.integers(0, 2),
    dilation=st.integers(1, 3), extra=st.integers(0, 2), inputs=st.integers(1, 6),
)  # fmt: skip
def test_phases_take_every_weight_once_and_make_every_output_once(
    kernel: int, stride: int, padding: int, dilation: int, extra: int, inputs: int
) -> None:
    extra = min(extra, stride - 1)
    made = (inputs - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1
    if made < 1:
        return
    layer = nn.ConvTranspose1d(2, 3, kernel, stride, padding, extra, dilation=dilation, bias=False)
    nn.init.ones_(layer.weight)
    assert layer(torch.zeros(1, 2, inputs)).shape[-1] == made
    sizes = (inputs,), (kernel,), (stride,), (padding,), (dilation,)
    assert output_size(*sizes, (extra,)) == (made,)
    found = phases(
        "up", 2, 3, (kernel,), (stride,), (padding,), (dilation,), 1, (inputs,), (made,), 1
    )
    # With an infinite input of ones, output o is the number of taps that reach it, times C_in:
    # torch says so where the input is long enough.
    wide = 40
    reach = layer(torch.ones(1, 2, wide))[0, 0]
    middle = [int(value) for value in reach[reach.numel() // 2 :][:stride]]
    taps = sorted(each.K for each in found)
    if made >= stride:
        assert taps == sorted(value for value in middle if value)
        assert sum(each.weights for each in found) == 2 * 3 * kernel
    # Outputs without any tap are zeros of torch.
    assert sum(each.N for each in found) <= made
    if all(middle):
        assert sum(each.N for each in found) == made


def test_a_stride_of_two_in_two_dimensions() -> None:
    found = phases("up", 8, 4, (4, 3), (2, 2), (1, 1), (1, 1), 2, (5, 5), (10, 9), 3)
    assert [each.name for each in found] == [
        "up.phase0x0", "up.phase0x1", "up.phase1x0", "up.phase1x1",
    ]  # fmt: skip
    assert [each.kernel for each in found] == [(2, 2), (2, 1), (2, 2), (2, 1)]
    assert sum(each.weights for each in found) == 8 * 4 // 2 * 12
    assert sum(each.N for each in found) == 10 * 9 * 3
    assert {each.groups for each in found} == {2}
