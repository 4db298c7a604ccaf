"""The Triton kernel against the dense product: on a GPU, or in Triton's interpreter.

On a CPU: ``TRITON_INTERPRET=1 python -m pytest tests/pack/test_spmm_gpu.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from format_cases import hybrid_mask

from crisp_loop.core.pattern import NM
from crisp_loop.formats.hybrid import HybridMatrix

ROOT = Path(__file__).parents[2]
CUDA = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if CUDA and not INTERPRETED else "cpu"


@pytest.fixture
def gpu() -> type:
    """The kernel's class, where it can run."""
    pytest.importorskip("triton", reason="needs the extra 'gpu' (triton)")
    if not (CUDA or INTERPRETED):
        pytest.skip("needs CUDA, or TRITON_INTERPRET=1")
    from crisp_loop.formats.gpu import GpuHybrid

    return GpuHybrid


@pytest.mark.parametrize(
    ("nm", "block", "shape", "kept", "width"),
    [
        (NM(2, 4), 64, (128, 320), 2, 49),
        (NM(2, 4), 32, (64, 96), 2, 64),
        (NM(1, 4), 16, (48, 80), 3, 17),
        (NM(3, 4), 16, (32, 80), 2, 33),
        (NM(2, 8), 32, (64, 96), 1, 16),
        (NM(4, 4), 16, (32, 64), 2, 16),
        (NM(2, 4), 16, (20, 44), 2, 7),
    ],
)
def test_products(
    gpu: type, nm: NM, block: int, shape: tuple[int, int], kept: int, width: int
) -> None:
    rng = np.random.default_rng(0)
    mask = hybrid_mask(rng, shape, nm, block, kept, full=False)
    weights = rng.standard_normal(shape, dtype=np.float32)
    inputs = rng.standard_normal((shape[1], width), dtype=np.float32)
    packed = gpu.of(HybridMatrix.encode(mask, weights, nm, block), DEVICE)
    found = packed.matmul(torch.from_numpy(inputs).to(DEVICE)).cpu()
    expected = np.where(mask, weights, 0).astype(np.float64) @ inputs
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    half = gpu.of(HybridMatrix.encode(mask, weights, nm, block), DEVICE, torch.float16)
    found = half.matmul(torch.from_numpy(inputs).to(DEVICE, torch.float16)).cpu().float()
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-2)


def test_pruned_inputs_are_not_read(gpu: type) -> None:
    rng = np.random.default_rng(1)
    mask = hybrid_mask(rng, (16, 64), NM(2, 4), 16, 2)
    inputs = torch.ones(64, 16)
    pruned = torch.from_numpy(~mask.reshape(16, 4, 16).any(axis=(0, 2)).repeat(16))
    inputs[pruned] = torch.nan
    packed = gpu.of(
        HybridMatrix.encode(mask, np.ones(mask.shape, np.float32), NM(2, 4), 16), DEVICE
    )
    found = packed.matmul(inputs.to(DEVICE)).cpu()
    assert pruned.sum() == 32
    assert (found == 16).all()


def test_what_the_kernel_does_not_take(gpu: type) -> None:
    mask = np.ones((48, 48), np.bool_)
    packed = HybridMatrix.encode(mask, mask.astype(np.float32), NM(4, 4), 24)
    with pytest.raises(ValueError, match="blocks of 24; expected a power of two"):
        gpu.of(packed, DEVICE)
    few = HybridMatrix.encode(mask & False, mask.astype(np.float32), NM(4, 8), 16)
    with pytest.raises(ValueError, match="4:8; expected a pattern with offsets of at most 8 bits"):
        gpu.of(few, DEVICE)
    good = gpu.of(HybridMatrix.encode(mask, mask.astype(np.float32), NM(4, 4), 16), DEVICE)
    with pytest.raises(ValueError, match=r"expected contiguous inputs 48 x N of torch.float32"):
        good.matmul(torch.ones(47, 16, device=DEVICE))


@pytest.mark.skipif(CUDA, reason="a GPU is here")
def test_the_benchmark_says_that_there_is_no_gpu() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "spmm_gpu.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "No CUDA device is here; this benchmark needs one."


def test_the_benchmark_goes_through_a_small_layer(gpu: type) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "spmm_gpu.py", "--dry-run", "--batch", "1"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )
    head, _, row, *_ = done.stdout.splitlines()
    assert head.startswith("CPU, a dry run; float16, 2:4, blocks of 64")
    assert row.split()[:6] == ["dry", "64", "x", "128", "x", "32"]
    assert row.split()[-1].endswith("x")
