"""Packing and unpacking all of ResNet-50, beside PyTorch's and SciPy's BSR and a plain copy.

    python benchmarks/formats.py [--repeats 9] [--threads 1] [--nm 2:4] [--block 64] [--sparsity .9]

Each row goes through all 52 prunable layers as S x K matrices of float32, with one set of drawn
masks. Ours takes a mask and dense weights, checks that the mask holds the pattern, and makes
values, block indices and bit-packed offsets; back, it checks indices and offsets and makes the
dense matrix. The peers take the masked weights and do the block part alone: they find blocks that
hold a non-zero, keep them whole, and put them back. Every result is dropped before the next layer,
and every decoder's is compared with the masked weights once, untimed.

GB/s are dense weights, 4 bytes each, by the second. Copies read and write each of them once, into
memory that is there (the bound, x copy = 1) or into new memory, which has to be mapped first.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import scipy
import scipy.sparse
import torch

from crisp_loop.core.layers import roles, unfit
from crisp_loop.core.pattern import NM
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.lower.draw import Draw
from crisp_loop.networks.trace import layer_table

BOTH = {
    "crisp_loop, there and back": ("crisp_loop, encode", "crisp_loop, decode"),
    "torch, there and back": ("torch, to_sparse_bsr", "torch, to_dense"),
    "scipy, there and back": ("scipy, bsr_array", "scipy, toarray"),
}
BOUND = "plain copy into memory that is there"
Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Seconds = tuple[float, float]
"""By the clock, and of the processor over all threads."""


@dataclass(frozen=True)
class Layer:
    """One layer's matrices, and what they are packed to."""

    mask: Mask
    weights: Matrix
    masked: Matrix
    target: Matrix
    """Memory to decode and copy into."""
    packed: HybridMatrix
    torchs: torch.Tensor
    scipys: scipy.sparse.bsr_array


def drawn_layers(model: str, nm: NM, block: int, sparsity: float) -> list[Layer]:
    """The network's prunable layers whose sides the block divides, masks drawn at the pattern."""
    table = layer_table(model)
    draw = Draw(nm, block, sparsity)
    rng = np.random.default_rng(0)
    layers = []
    for layer in table.layers:
        if layer.name in roles(table) or unfit(layer, nm.m) or layer.S % block or layer.K % block:
            continue
        mask = draw.mask(layer.S, layer.K, rng)
        weights = rng.standard_normal(mask.shape, dtype=np.float32)
        masked = np.where(mask, weights, np.float32(0))
        layers.append(
            Layer(
                mask,
                weights,
                masked,
                np.zeros_like(masked),
                HybridMatrix.encode(mask, weights, nm, block),
                torch.from_numpy(masked).to_sparse_bsr((block, block)),
                scipy.sparse.bsr_array(masked, blocksize=(block, block)),
            )
        )
    return layers


def steps(nm: NM, block: int) -> dict[str, Callable[[Layer], object]]:
    """What to time, on one layer."""
    sides = (block, block)
    return {
        "crisp_loop, encode": lambda la: HybridMatrix.encode(la.mask, la.weights, nm, block),
        "torch, to_sparse_bsr": lambda la: torch.from_numpy(la.masked).to_sparse_bsr(sides),
        "scipy, bsr_array": lambda la: scipy.sparse.bsr_array(la.masked, blocksize=sides),
        "crisp_loop, decode": lambda la: la.packed.decode(),
        "crisp_loop, decode(out=)": lambda la: la.packed.decode(la.target),
        "torch, to_dense": lambda la: la.torchs.to_dense().numpy(),
        "scipy, toarray": lambda la: la.scipys.toarray(),
        "plain copy into new memory": lambda la: la.weights.copy(),
        BOUND: lambda la: np.copyto(la.target, la.weights),
    }


def check(layers: list[Layer], timed: dict[str, Callable[[Layer], object]]) -> None:
    """Every decoder gives back the masked weights."""
    for layer in layers:
        for name, step in timed.items():
            if "dec" in name or "to_dense" in name or "toarray" in name:
                assert np.array_equal(step(layer), layer.masked), name  # type: ignore[arg-type]


def interleaved(
    layers: list[Layer], timed: dict[str, Callable[[Layer], object]], repeats: int
) -> dict[str, list[Seconds]]:
    """Times over all layers, every step in turn at every repeat."""
    times: dict[str, list[Seconds]] = {name: [] for name in timed}
    for _ in range(repeats):
        for name, step in timed.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for layer in layers:
                step(layer)
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    for label, (one, other) in BOTH.items():
        pairs = zip(times[one], times[other], strict=True)
        times[label] = [(a[0] + b[0], a[1] + b[1]) for a, b in pairs]
    return times


def main() -> None:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet50", help="another network, such as resnet20")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1, help="torch's; ours takes one anyway")
    parser.add_argument("--nm", default="2:4", choices=["1:4", "2:4", "3:4"])
    parser.add_argument("--block", type=int, default=64, choices=[16, 32, 64])
    parser.add_argument("--sparsity", type=float, default=0.9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", "Sparse BSR tensor support")
    nm = NM.parse(options.nm)
    layers = drawn_layers(options.model, nm, options.block, options.sparsity)
    timed = steps(nm, options.block)
    check(layers, timed)
    times = interleaved(layers, timed, options.repeats)
    bound = statistics.median(wall for wall, _ in times[BOUND])
    weights = sum(layer.weights.size for layer in layers)
    print(
        f"{options.model}, {len(layers)} layers, {weights:,} weights, {nm}, blocks of"
        f" {options.block}, kappa {options.sparsity:g}; torch {torch.__version__}, numpy"
        f" {np.__version__}, numba {numba.__version__}, scipy {scipy.__version__},"
        f" {options.threads} thread(s), median of {options.repeats}"
    )
    print(f"{'':<40} {'ms':>9} {'fastest':>9} {'CPU ms':>9} {'GB/s':>8} {'x copy':>8}")
    for name, pairs in times.items():
        walls = [wall for wall, _ in pairs]
        median, cpu = statistics.median(walls), statistics.median(cpu for _, cpu in pairs)
        print(
            f"{name:<40} {median * 1e3:9.1f} {min(walls) * 1e3:9.1f} {cpu * 1e3:9.1f}"
            f" {4e-9 * weights / median:8.2f} {median / bound:8.1f}"
        )


if __name__ == "__main__":
    main()
