"""Hybrid-packed products on a GPU beside cuBLAS, torch's BSR and semi-structured, and a prediction.

    python benchmarks/spmm_gpu.py [--batch 32] [--nm 2:4] [--block 64] [--sparsity .9]
                                  [--results runs/resnet50/results.csv] [--repeats 20]

Each row is a shape among ResNet-50's prunable layers as a GEMM, weights S x K times activations
K x N (N = P * Q * batch), in float16, with masks drawn at the pattern. Speed-ups are over cuBLAS on
the dense weights. ``--results`` names the table of ``crisp-loop eval --model resnet50`` with the
same pattern, whose predicted speed-ups for ``nvidia-stc`` and ``crisp-stc`` are printed beside what
was measured: simulator against silicon. The accelerators predicted are not this GPU; what can be
compared is how speed-ups follow the pattern and the layers.

``semi-structured`` holds the same masks, which are 2:4 wherever they keep anything; ``semi on
blocks`` gathers the inputs of each block-row and multiplies its kept blocks so. A method that
cannot run a layer is printed as "-", with its reason below. Needs CUDA and the extra ``gpu``;
``--dry-run`` goes through one small layer on the CPU instead (with TRITON_INTERPRET=1), whose times
mean nothing.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from crisp_loop.core.layers import Layer, roles, unfit
from crisp_loop.core.pattern import NM
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.lower.draw import Draw
from crisp_loop.networks.trace import layer_table

METHODS = ("cuBLAS", "torch BSR", "semi-structured", "semi on blocks", "crisp_loop")
PREDICTED = ("nvidia-stc", "crisp-stc")


def shapes(block: int, nm: NM, dry: bool) -> list[Layer]:
    """One layer for each distinct GEMM whose sides the block divides."""
    if dry:
        return [Layer("dry", "linear", 2 * block, block, batch=32)]
    table = layer_table("resnet50")
    found: dict[tuple[int, int, int], Layer] = {}
    for layer in table.layers:
        fits = not (layer.S % block or layer.K % block or unfit(layer, nm.m))
        if fits and layer.name not in roles(table):
            found.setdefault((layer.S, layer.K, layer.N), layer)
    return list(found.values())


def products(
    layer: Layer, batch: int, draw: Draw, rng: np.random.Generator, device: str
) -> dict[str, Callable[[], Callable[[], torch.Tensor]]]:
    """For each method, what prepares it and returns the product to time."""
    from crisp_loop.formats.gpu import GpuHybrid

    mask = draw.mask(layer.S, layer.K, rng)
    weights = (rng.standard_normal(mask.shape) / layer.K**0.5).astype(np.float16)
    masked = torch.from_numpy(np.where(mask, weights, np.float16(0))).to(device)
    inputs = torch.randn(layer.K, layer.N * batch, device=device).half()

    def dense() -> Callable[[], torch.Tensor]:
        return lambda: masked @ inputs

    def bsr() -> Callable[[], torch.Tensor]:
        sparse = masked.to_sparse_bsr((draw.block, draw.block))
        return lambda: sparse @ inputs

    def semi() -> Callable[[], torch.Tensor]:
        sparse = torch.sparse.to_sparse_semi_structured(masked)
        return lambda: torch.mm(sparse, inputs)

    def semi_on_blocks() -> Callable[[], torch.Tensor]:
        side = draw.block
        tiles = masked.reshape(-1, side, layer.K // side, side)
        kept = [torch.nonzero(row.any(0).any(1))[:, 0] for row in tiles]
        parts = [
            torch.sparse.to_sparse_semi_structured(row[:, index].reshape(side, -1))
            for row, index in zip(tiles, kept, strict=True)
        ]
        blocks = inputs.reshape(layer.K // side, side, -1)
        return lambda: torch.cat(
            [
                torch.mm(part, blocks[index].reshape(-1, blocks.shape[2]))
                for part, index in zip(parts, kept, strict=True)
            ]
        )

    def ours() -> Callable[[], torch.Tensor]:
        packed = HybridMatrix.encode(mask, weights, draw.nm, draw.block)
        there = GpuHybrid.of(packed, device)
        return lambda: there.matmul(inputs)

    return dict(zip(METHODS, (dense, bsr, semi, semi_on_blocks, ours), strict=True))


def seconds(product: Callable[[], torch.Tensor], repeats: int) -> float:
    """Median time of a product after some to warm up."""
    if not torch.cuda.is_available():
        start = time.perf_counter()
        product()
        return time.perf_counter() - start
    for _ in range(5):
        product()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        product()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)


def predictions(path: Path | None) -> dict[tuple[str, str], float]:
    """(layer, accelerator) to the speed-up in a ``results.csv``."""
    if path is None:
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {(row["layer"], row["accelerator"]): float(row["speedup"]) for row in rows}


def main() -> None:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--nm", default="2:4", choices=["1:4", "2:4", "3:4"])
    parser.add_argument("--block", type=int, default=64, choices=[16, 32, 64])
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    if not (torch.cuda.is_available() or options.dry_run):
        print("No CUDA device is here; this benchmark needs one.", file=sys.stderr)
        sys.exit(2)
    warnings.filterwarnings("ignore", "Sparse|The PyTorch API of SparseSemiStructuredTensor")
    device = "cpu" if options.dry_run else "cuda"
    draw = Draw(NM.parse(options.nm), options.block, options.sparsity)
    rng = np.random.default_rng(0)
    predicted = predictions(options.results)
    where = "CPU, a dry run" if options.dry_run else torch.cuda.get_device_name()
    print(
        f"{where}; float16, {options.nm}, blocks of {options.block}, kappa {options.sparsity:g},"
        f" batch {options.batch}; torch {torch.__version__}, median of {options.repeats}"
    )
    heads = [*METHODS[1:], *(f"({name})" for name in PREDICTED if predicted)]
    print(
        f"{'layer':<26} {'S x K x N':>20} {'cuBLAS us':>10} " + " ".join(f"{h:>16}" for h in heads)
    )
    reasons: dict[str, str] = {}
    for layer in shapes(options.block, draw.nm, options.dry_run):
        ways = products(layer, options.batch, draw, rng, device)
        reference = ways["cuBLAS"]()()
        base = 0.0
        cells = []
        for name in METHODS:
            try:
                product = ways[name]()
                torch.testing.assert_close(product(), reference, rtol=2e-2, atol=2e-2)
                took = seconds(product, options.repeats)
            except (RuntimeError, NotImplementedError, ValueError) as error:
                reasons[name] = f"{layer.name}: {str(error).strip().splitlines()[0]}"
                cells.append("-")
                continue
            base = base or took
            cells.append(f"{base / took:.2f}x")
        guesses = [predicted.get((layer.name, name)) for name in PREDICTED if predicted]
        cells += ["-" if guess is None else f"{guess:.2f}x" for guess in guesses]
        size = f"{layer.S} x {layer.K} x {layer.N * options.batch}"
        print(
            f"{layer.name:<26} {size:>20} {base * 1e6:10.1f} "
            + " ".join(f"{cell:>16}" for cell in cells[1:])
        )
    for name, reason in reasons.items():
        print(f"{name}: {reason}")


if __name__ == "__main__":
    main()
