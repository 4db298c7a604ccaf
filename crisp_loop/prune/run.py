"""The pruning stage: train or load a network, prune it for a user's classes, measure it."""

from __future__ import annotations

import copy
import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

import crisp_loop
from crisp_loop.core.files import sha256, write_json, write_text
from crisp_loop.core.masks import Masks, save_masks
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.datasets.registry import load
from crisp_loop.datasets.split import Dataset, check_classes, user_samples
from crisp_loop.networks.registry import build
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.batches import TensorBatches
from crisp_loop.prune.checkpoints import load_weights, read_header, save_weights
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.crisp import IterationReport, crisp
from crisp_loop.prune.finetune import Log, Recipe, accuracy, train
from crisp_loop.prune.plan import Plan, plan_layers
from crisp_loop.prune.results import PruneSummary, Scores, layer_reports


def prune_network(
    network: str,
    dataset: str,
    user_classes: Sequence[int],
    config: PruneConfig,
    out_dir: Path,
    *,
    weights: Path | None = None,
    progress: Progress | None = None,
) -> PruneSummary:
    """Prune ``network`` for the ``user_classes`` of ``dataset``.

    Writes under ``out_dir/prune``: ``layers.json`` (the layer table), ``dense.safetensors``
    (the trained dense weights, used again while the options of the training stay the same),
    ``masks.safetensors``, ``weights.safetensors`` (the whole pruned state_dict), ``log.jsonl``,
    and last ``summary.json``. Everything that can be checked is checked before any training.

    Args:
        network: A name of :data:`crisp_loop.networks.registry.NETWORKS`.
        dataset: A name of :data:`crisp_loop.datasets.registry.DATASETS`.
        user_classes: Class ids that the user meets.
        config: Training and pruning options.
        out_dir: The run directory; made if missing.
        weights: Trained dense weights (.safetensors or .pth) instead of a training.
        progress: Shows the epochs.

    Returns:
        What ``summary.json`` holds.

    Raises:
        CrispLoopError: anything the user can mend, in one sentence.
    """
    progress = progress or Quiet()
    data = load(dataset, config.seed)
    classes = check_classes(user_classes, data)
    shape = tuple(data.train.images.shape[1:])
    table = layer_table(network, shape, num_classes=len(data.classes))
    plan = plan_layers(table, config)
    folder = out_dir / "prune"
    log = _LogFile(folder / "log.jsonl")
    seconds: dict[str, float] = {}
    own_train = user_samples(data.train, classes, config.samples_per_class, config.seed)
    own_val, own_test = user_samples(data.val, classes), user_samples(data.test, classes)

    def scores(model: nn.Module) -> Scores:
        return Scores(accuracy(model, own_val, classes), accuracy(model, own_test, classes))

    write_json(folder / "layers.json", table)
    with _phase("train", seconds, config.seed):
        model, source = _dense_model(
            network, data, config, folder / "dense.safetensors", weights, log, progress
        )
    dense = scores(model)
    with _phase("finetune_dense", seconds, config.seed):
        bound = copy.deepcopy(model)
        _finetune_dense(bound, _batches(own_train, config), config, log, progress)
    dense_finetuned = scores(bound)
    del bound
    with _phase("prune", seconds, config.seed):
        batches = _batches(own_train, config)
        masks, iterations = crisp(
            model, batches, plan, config, name=network, log=log, progress=progress
        )
    summary = _summary(
        plan, masks, iterations, scores(model), network, dataset, classes, config, seconds
    )
    raise NotImplementedError
