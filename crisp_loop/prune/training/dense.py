"""The dense network before pruning: trained, reused from an earlier run, or loaded."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import sha256
from crisp_loop.core.progress import Progress
from crisp_loop.datasets.split import Dataset
from crisp_loop.networks.registry import build
from crisp_loop.prune.batches import TensorBatches
from crisp_loop.prune.checkpoints import load_weights, read_header, save_weights
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.training.finetune import Log, Recipe, train
from crisp_loop.prune.training.resume import Checkpoint
from crisp_loop.prune.training.runtime import Runtime

EVERY = 20.0
"""Seconds between two writes of a training's state: small networks would do little else."""


def dense_model(
    network: str,
    data: Dataset,
    config: PruneConfig,
    path: Path,
    weights: Path | None,
    log: Log,
    progress: Progress,
    *,
    runtime: Runtime,
    head: str = "",
    resize_head: bool = False,
) -> tuple[nn.Module, str]:
    """The dense network, and where its weights came from.

    Args:
        network: A registered name.
        data: Trained on all classes of ``data.train``.
        config: The training options.
        path: Keeps trained weights, with a hash of all that they depend on in the header.
        weights: Load this file instead. With a new head, all of the network is trained from
            there, since the head knows nothing yet.
        log: Gets one line an epoch.
        progress: Shows the epochs.
        runtime: Where it trains; the network is returned there.
        head: Name of the classifier.
        resize_head: Start a new head where the one in ``weights`` has other classes.
    """
    model = build(network, len(data.classes)).to(runtime.device)
    start = ""
    if weights is not None:
        if not load_weights(weights, model, network, head, resize_head):
            return model, str(weights)
        progress.note(
            f"{weights} has another number of classes: {head} starts anew with"
            f" {len(data.classes)}, and the network is trained from there."
        )
        start = sha256(weights.read_bytes())
    source = f"{weights}, new head" if start else ""
    key = _training_key(network, data, config, start)
    if read_header(path).get("training") == key:
        try:
            load_weights(path, model, network)
            progress.note(f"dense weights reused from {path}")
            return model, source or "reused"
        except CrispLoopError as error:
            progress.note(f"{error} Training again.")
            torch.manual_seed(config.seed)
            model = build(network, len(data.classes)).to(runtime.device)
            if weights is not None:
                load_weights(weights, model, network, head, resize_head)
    recipe = Recipe.of(config, "train", config.train_epochs, config.train_lr)
    batches = TensorBatches(data.train.images, data.train.labels, config.batch_size, config.seed)
    unfinished = Checkpoint(path.with_suffix(".checkpoint"), key, EVERY)
    train(model, batches, recipe, runtime, checkpoint=unfinished, log=log, progress=progress)
    save_weights(path, model, {"training": key})
    unfinished.remove()
    return model, source or "trained"


def _training_key(network: str, data: Dataset, config: PruneConfig, start: str) -> str:
    """Hash of everything that trained weights depend on; ``start`` names those at the start."""
    depends_on = {
        "network": network,
        "dataset": data.name,
        "classes": data.classes,
        "samples": len(data.train),
        "epochs": config.train_epochs,
        "lr": config.train_lr,
        "batch_size": config.batch_size,
        "momentum": config.momentum,
        "weight_decay": config.weight_decay,
        "seed": config.seed,
        "torch": torch.__version__,
    }
    # Left out where they are as they were before there were any, so that weights trained then
    # are still used.
    options = {"stamp": data.stamp, "start": start}
    options |= {
        name: getattr(config, name)
        for name in ("augment", "precision")
        if getattr(config, name) != PruneConfig.model_fields[name].default
    }
    depends_on |= {key: value for key, value in options.items() if value}
    return sha256(json.dumps(depends_on, sort_keys=True))
