"""The compiled pass over g and w against torch's operations."""

from __future__ import annotations

import numba
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crisp_loop.core.pattern import NM
from crisp_loop.prune.patterns import blocks, kernels
from crisp_loop.prune.patterns.blocks import block_scores, mask_and_score
from crisp_loop.prune.patterns.nm import nm_mask
from crisp_loop.prune.scores.products import Product, multiplied


def drawn(
    generator: torch.Generator, shape: tuple[int, ...], kind: str, dtype: torch.dtype
) -> torch.Tensor:
    """Normal numbers; or few different ones, so ties and zeros abound; or zeros of both signs."""
    values = torch.randn(shape, generator=generator, dtype=dtype)
    if kind == "many values":
        return values
    return values.round() if kind == "few values" else values * 0


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    nm=st.sampled_from([NM(1, 4), NM(2, 4), NM(3, 4), NM(4, 4), NM(1, 2), NM(2, 8), NM(1, 1)]),
    block=st.sampled_from([8, 16, 32, 64]),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.sampled_from([(), (1, 1), (3, 3), (1, 3)]),
    kinds=st.tuples(*[st.sampled_from(["many values", "few values", "zeros"])] * 2),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    channels_last=st.booleans(),
)
def test_one_pass_is_torchs_path(
    seed: int,
    nm: NM,
    block: int,
    grid: tuple[int, int],
    kernel: tuple[int, ...],
    kinds: tuple[str, str],
    dtype: torch.dtype,
    channels_last: bool,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (grid[0] * block, grid[1] * block, *kernel)
    gradient = drawn(generator, shape, kinds[0], torch.float64)
    weight = drawn(generator, shape, kinds[1], dtype)
    if channels_last and kernel:
        gradient = gradient.to(memory_format=torch.channels_last)
        weight = weight.to(memory_format=torch.channels_last)
    mask = torch.empty(shape, dtype=torch.bool)
    found = mask_and_score(Product(gradient, weight.requires_grad_()), nm, block, mask)
    scores = multiplied(Product(gradient, weight))
    expected = nm_mask(scores, nm)
    assert torch.equal(mask, expected)
    torch.testing.assert_close(found, block_scores(scores, block, expected), rtol=1e-12, atol=0)


def test_what_no_kernel_serves_goes_through_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "mask_and_sum", None)
    scores = torch.rand(8, 16, dtype=torch.float64)
    weight = torch.randn(8, 16).bfloat16()
    for saliency in (scores, Product(scores.clone(), weight)):
        mask = torch.empty(8, 16, dtype=torch.bool)
        found = blocks.mask_and_score(saliency, NM(2, 4), 8, mask)
        counted = multiplied(Product(scores.clone(), weight)) if saliency is not scores else scores
        assert torch.equal(mask, nm_mask(counted, NM(2, 4)))
        assert torch.equal(found, block_scores(counted, 8, mask))


def test_without_a_place_for_a_cache_kernels_are_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def njit(nogil: bool, cache: bool = False) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(nogil=nogil)

    monkeypatch.setattr(kernels, "njit", njit)
    mask = torch.empty(4, 4, 1, dtype=torch.bool)
    ones = torch.ones(4, 4, 1)
    kernels._compiled_for.cache_clear()
    sums = kernels.mask_and_sum(ones.double().numpy(), ones.numpy(), 1, 4, 4, mask.numpy())
    kernels._compiled_for.cache_clear()
    assert sums.flatten().tolist() == [4.0, 0.0, 0.0, 0.0]
    assert mask[:, 0].all()
    assert not mask[:, 1:].any()
