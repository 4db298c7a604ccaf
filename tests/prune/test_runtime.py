"""Devices and precisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prune_cases import net, options, samples, state_of, task_of

from crisp_loop.core.errors import InputError
from crisp_loop.core.masks import matrix_view, sparsity_of
from crisp_loop.prune.batches import TensorBatches
from crisp_loop.prune.methods.base import Setting
from crisp_loop.prune.module import prune_module
from crisp_loop.prune.run import prune_network
from crisp_loop.prune.training.finetune import Recipe, train
from crisp_loop.prune.training.prune import prune_model
from crisp_loop.prune.training.runtime import (
    PlacedBatches,
    Runtime,
    chosen_runtime,
    runtime_of,
)

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no CUDA device here"
)


def noting(kinds: set[torch.dtype]) -> Callable[..., None]:
    """A hook that notes the types of a layer's outputs."""

    def hook(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        kinds.add(output.dtype)

    return hook


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns_and_keeps_float32_weights(precision: Any) -> None:
    model, lines = net(), []
    config = options(precision=precision)
    runtime = runtime_of(model, config)
    assert runtime.name == f"cpu, {precision}"
    batches = TensorBatches(*samples(), 16, 0)
    kinds: set[torch.dtype] = set()
    model.wide.register_forward_hook(noting(kinds))
    recipe = Recipe("t", 8, 0.05, 0.9, 0.0)
    train(model, batches, recipe, runtime, log=lines.append)
    assert kinds == {getattr(torch, precision)}
    losses = [line["loss"] for line in lines]
    assert losses[-1] < 0.7 * losses[0]
    assert {value.dtype for value in state_of(model).values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("method", ["crisp", "ocap", "capnn"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_prunes_as_well(precision: Any, method: str) -> None:
    config = options(method=method, precision=precision)
    model = net()
    task = task_of(model, config)
    outcome = prune_model(task)
    assert outcome.iterations[-1].sparsity >= 0.7
    for name, mask in outcome.masks.layers.items():
        assert model.get_parameter(f"{name}.weight")[torch.from_numpy(~mask)].eq(0).all()


@pytest.mark.parametrize("criterion", ["paper", "mean_abs", "fisher", "grasp", "snip"])
def test_scores_are_float32s_in_any_precision(criterion: Any) -> None:
    """Up to the order of float32 sums: with mixed precision images are laid out otherwise."""
    model = net()
    found = {}
    for precision in ("float32", "bfloat16"):
        config = options(criterion=criterion, precision=precision)
        task = task_of(model, config)
        kinds: set[torch.dtype] = set()
        hook = model.wide.register_forward_hook(noting(kinds))
        placed = PlacedBatches(task.batches, task.runtime)
        found[precision] = Setting(model, placed, task.plan, config).saliency()
        hook.remove()
        assert kinds == {torch.float32}
    for name, scores in found["float32"].items():
        assert scores.dtype == torch.float64
        # bfloat16 itself has but 8 bits.
        torch.testing.assert_close(found["bfloat16"][name], scores, rtol=1e-4, atol=1e-7)


def test_auto_is_float32_on_a_cpu() -> None:
    assert runtime_of(net(), options()) == Runtime(CPU, torch.float32)
    assert chosen_runtime(options(device="cpu")) == Runtime(CPU, torch.float32)
    assert runtime_of(torch.nn.ReLU(), options(precision="bfloat16")).mixed


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a CUDA device here")
def test_no_cuda_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="finds no CUDA device here; expected auto or cpu") as e:
        prune_network("digits-resnet", "digits", (1, 2), options(device="cuda"), tmp_path)
    assert "\n" not in str(e.value)
    assert not list(tmp_path.iterdir())


def test_batches_arrive_where_the_model_is() -> None:
    plain = TensorBatches(*samples(), 16, 0)
    placed = PlacedBatches(plain, Runtime(CPU, torch.bfloat16))
    assert len(placed) == 3
    assert placed.generator is plain.generator
    images, labels = next(iter(placed))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    again, same = next(iter(TensorBatches(*samples(), 16, 0)))
    assert torch.equal(images, again)
    assert torch.equal(labels, same)


@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "auto"])
@pytest.mark.parametrize("way", [{}, {"mode": "lottery"}, {"method": "channel"}], ids=str)
def test_pruning_on_cuda(way: dict[str, Any], precision: str) -> None:
    config = options(precision=precision, augment="flip_shift", **way)
    model = net().cuda()
    images, labels = samples()
    masks = prune_module(model, (images, labels), config)
    zeros = weights = 0
    for name, mask in masks.layers.items():
        weight = model.get_parameter(f"{name}.weight")
        assert weight.is_cuda
        assert weight[torch.from_numpy(~mask).cuda()].eq(0).all()
        zeros += int((~mask).sum())
        weights += mask.size
        if config.method == "crisp":
            view = matrix_view(mask).astype(np.bool_)
            assert sparsity_of(view, config.nm, config.block).form in ("hybrid", "nm")
    assert zeros / weights >= 0.7
