"""One scoring-and-masking step over ResNet-50, beside a peer and the speed of the memory.

    python benchmarks/scoring.py [--repeats 7] [--threads 1] [--nm 2:4] [--block 64] [--sparsity .9]

The step is Algorithm 1, lines 2 to 10, on given mean gradients (float64, as they are accumulated)
and float32 weights: T_w of all 52 prunable layers, N:M masks, block scores, rank columns, the
global choice, block masks. The step is timed as pruning runs it, and also with torch's operations
alone, which is what runs off the CPU. Gradients are put back between runs, untimed, as T_w may take
their memory.

The peer is PyTorch's WeightNormSparsifier on the same weights as S x K matrices: N:M in groups of
1 x M, and whole B x B blocks layer by layer. Each is less work than the step, which does both, by
a product with gradients, and orders blocks across layers.

The bound is a plain copy that moves as many bytes as any such step must: weights and gradients in
(float32), masks out (a byte a weight). That is less than this step reads: its gradients are sums
over batches, kept in float64. A second copy, for comparison, counts them as they are: 8 + 4 in,
1 out. Factors in the table are of the first, stricter bound.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.ao.pruning.sparsifier.weight_norm_sparsifier import WeightNormSparsifier

from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.methods.hybrid import prune_blocks, set_nm_masks
from crisp_loop.prune.patterns.nm import to_matrix
from crisp_loop.prune.plan import Plan, pattern_zeros, plan_layers
from crisp_loop.prune.schedule import kappa, weights_to_prune
from crisp_loop.prune.scores.products import Product, Saliency, mean_gradient_scores
from crisp_loop.prune.ste import WeightMask

BOUND = "plain copy of as many bytes"


@dataclass(frozen=True)
class Step:
    """Something to time."""

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    """Runs before, untimed."""


def drawn_weights(plan: Plan, seed: int) -> dict[str, torch.Tensor]:
    """Normal weights for every prunable layer, scaled by its fan-in."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}
    for layer in plan.prunable:
        kernel = layer.kernel if layer.kind == "conv" else ()
        shape = (layer.out_channels, layer.in_channels, *kernel)
        weights[layer.name] = torch.randn(shape, generator=generator) / layer.K**0.5
    return weights


def crisp_steps(plan: Plan, config: PruneConfig) -> dict[str, Step]:
    """The whole step, and its parts."""
    weights, gradients = drawn_weights(plan, 0), drawn_weights(plan, 1)
    masks = {name: WeightMask(weight) for name, weight in weights.items()}
    total = sum(weight.numel() for weight in weights.values())
    means = {name: gradient.double() for name, gradient in gradients.items()}

    zeros = weights_to_prune(kappa(1, config, pattern_zeros(plan, config), total), total)

    def give() -> None:
        for name, mean in means.items():
            mean.copy_(gradients[name])

    def factors() -> dict[str, Product]:
        return {name: Product(means[name], weight) for name, weight in weights.items()}

    def multiply() -> dict[str, torch.Tensor]:
        return {name: mean_gradient_scores(means[name], weight) for name, weight in weights.items()}

    def step(saliency: Mapping[str, Saliency]) -> None:
        prune_blocks(masks, set_nm_masks(masks, saliency, plan, config), plan, config, zeros)

    scores = set_nm_masks(masks, factors(), plan, config)
    return {
        "crisp_loop, whole step": Step(lambda: step(factors()), give),
        "  of it: N:M masks and block scores": Step(
            lambda: set_nm_masks(masks, factors(), plan, config), give
        ),
        "  of it: rank columns and block masks": Step(
            lambda: prune_blocks(masks, scores, plan, config, zeros)
        ),
        "crisp_loop, torch's operations alone": Step(lambda: step(multiply()), give),
    }


def peer_step(plan: Plan, sparsity: float, shape: tuple[int, int], zeros: int) -> Step:
    """WeightNormSparsifier's own step over the same weights."""
    model = nn.Module()
    config: list[dict[str, Any]] = []
    for name, weight in drawn_weights(plan, 0).items():
        matrix = to_matrix(weight)
        linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, device="meta")
        linear.weight = nn.Parameter(matrix.contiguous())
        plain = name.replace(".", "_")
        model.add_module(plain, linear)
        config.append({"tensor_fqn": f"{plain}.weight"})
    peer = WeightNormSparsifier(sparsity, shape, zeros, norm=1)
    peer.prepare(model, config)
    return Step(peer.step)


def copy_step(plan: Plan, gradient_bytes: int) -> Step:
    """Copy the bytes that a step moves: 4 + ``gradient_bytes`` read, 1 written, a weight."""
    moved = (4 + gradient_bytes + 1) * sum(layer.weights for layer in plan.prunable)
    source = torch.ones(moved // 2, dtype=torch.uint8)
    target = torch.empty_like(source)
    return Step(lambda: target.copy_(source))


def interleaved(steps: dict[str, Step], repeats: int) -> dict[str, list[float]]:
    """Seconds of every step, all in turn at every repeat, after one run to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            step.prepare()
            start = time.perf_counter()
            step.run()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--nm", default="2:4", choices=["1:4", "2:4", "3:4"])
    parser.add_argument("--block", type=int, default=64, choices=[16, 32, 64])
    parser.add_argument("--sparsity", type=float, default=0.9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = PruneConfig.model_validate(
        {
            "nm": options.nm,
            "block": options.block,
            "sparsity": options.sparsity,
            "iterations": 1,
        }
    )
    plan = plan_layers(layer_table("resnet50"), config)
    nm, block = config.nm, config.block
    steps: dict[str, Step] = {
        **crisp_steps(plan, config),
        f"WeightNormSparsifier, {nm}": peer_step(plan, 1.0, (1, nm.m), nm.m - nm.n),
        f"WeightNormSparsifier, {block} x {block} blocks": peer_step(
            plan, config.sparsity, (block, block), block * block
        ),
        "plain copy, float64 gradients": copy_step(plan, 8),
        BOUND: copy_step(plan, 4),
    }
    seconds = interleaved(steps, options.repeats)
    bound = statistics.median(seconds[BOUND])
    weights = sum(layer.weights for layer in plan.prunable)
    print(
        f"ResNet-50, {len(plan.prunable)} layers, {weights:,} weights, {nm}, blocks of {block},"
        f" kappa {options.sparsity:g}; torch {torch.__version__}, {options.threads} thread(s),"
        f" median of {options.repeats}"
    )
    print(f"{'':<40} {'ms':>9} {'fastest':>9} {'x copy':>8}")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:<40} {median * 1e3:9.1f} {min(times) * 1e3:9.1f} {median / bound:8.1f}")


if __name__ == "__main__":
    main()
