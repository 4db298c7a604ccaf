"""The pruning stage: train or load a network, prune it for a user's classes, measure it."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

import crisp_loop
from crisp_loop.core.files import file_hash, write_json, write_text
from crisp_loop.core.masks import save_masks
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.datasets.registry import source_stamp
from crisp_loop.datasets.split import Dataset
from crisp_loop.prune.batches import as_batches
from crisp_loop.prune.case import Case, load_case
from crisp_loop.prune.checkpoints import save_weights
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.plan import plan_layers
from crisp_loop.prune.results import PruneSummary, Sources, kept_macs, layer_reports
from crisp_loop.prune.training.dense import dense_model
from crisp_loop.prune.training.prune import finetune, prune_model
from crisp_loop.prune.training.resume import Checkpoint
from crisp_loop.prune.training.runtime import Runtime, chosen_runtime, seeded
from crisp_loop.prune.training.task import Task


def prune_network(
    network: str,
    dataset: str,
    user_classes: Sequence[int],
    config: PruneConfig,
    out_dir: Path,
    *,
    weights: Path | None = None,
    resize_head: bool = False,
    data: Dataset | None = None,
    progress: Progress | None = None,
) -> PruneSummary:
    """Prune ``network`` for the ``user_classes`` of ``dataset``.

    Writes under ``out_dir/prune``: ``layers.json`` (the layer table), ``dense.safetensors``
    (the trained dense weights, used again while the options of the training stay the same),
    ``masks.safetensors``, ``weights.safetensors`` (the whole pruned state_dict), ``log.jsonl``,
    and last ``summary.json``. What can be checked is checked before any training. While it runs,
    ``*.checkpoint`` hold the state of what is unfinished: a run that was killed goes on from
    there and comes to the same result.

    Args:
        network: A name of :data:`crisp_loop.networks.registry.NETWORKS`.
        dataset: As :data:`crisp_loop.datasets.registry.DATASETS` writes it. Its images must have
            the network's input shape; pictures in folders are brought to it.
        user_classes: Class ids that the user meets.
        config: Training and pruning options.
        out_dir: The run directory; made if missing.
        weights: Trained dense weights (.safetensors or .pth) instead of a training.
        resize_head: Start a new head where the one in ``weights`` has another number of classes
            than the data, and train the network from there.
        data: The data set ``dataset``, where the caller has read it already.
        progress: Shows the epochs.

    Returns:
        What ``summary.json`` holds.

    Raises:
        CrispLoopError: anything the user can mend, in one sentence.
    """
    progress = progress or Quiet()
    sources = current_sources(dataset, weights, resize_head)
    runtime = chosen_runtime(config)
    case = load_case(network, dataset, user_classes, config, data)
    plan = plan_layers(case.table, config)
    folder = out_dir / "prune"
    # A summary says that the files beside it belong together, so an old one goes first.
    (folder / "summary.json").unlink(missing_ok=True)
    write_json(folder / "layers.json", case.table)
    log = _LogFile(folder / "log.jsonl")
    seconds: dict[str, float] = {}

    with _phase("train", seconds, config):
        model, source = dense_model(
            network,
            case.data,
            config,
            folder / "dense.safetensors",
            weights,
            log,
            progress,
            runtime=runtime,
            head=case.head,
            resize_head=resize_head,
        )
    dense, dense_all_classes = case.scores(model), case.scores_all_classes(model)

    def task(subject: nn.Module, name: str) -> Task:
        return Task(
            model=subject,
            batches=as_batches(case.train, config.batch_size, config.seed),
            plan=plan,
            config=config,
            runtime=runtime,
            name=network,
            log=log,
            progress=progress,
            checkpoint=Checkpoint(folder / f"{name}.checkpoint", key),
        )

    key = _work_key(model, case, config, runtime)
    dense_finetuned = None
    if config.upper_bound:
        with _phase("finetune_dense", seconds, config):
            bound = task(copy.deepcopy(model), "upper-bound")
            finetune(bound)
        dense_finetuned = case.scores(bound.model)
    with _phase("prune", seconds, config):
        outcome = prune_model(task(model, "pruning"))

    layers = layer_reports(plan, outcome.masks)
    zeros = sum(layer.S * layer.K - layer.nnz for layer in layers)
    everything = sum(layer.weights for layer in case.table.layers)
    prunable = sum(layer.weights for layer in plan.prunable)
    summary = PruneSummary(
        network=network,
        dataset=dataset,
        user_classes=case.classes,
        config=config,
        samples=len(case.train),
        dense_all_classes=dense_all_classes,
        dense=dense,
        dense_finetuned=dense_finetuned,
        pruned=case.scores(model),
        sparsity=zeros / prunable if prunable else 0.0,
        sparsity_all=zeros / everything,
        parameters=case.table.parameters,
        parameters_kept=case.table.parameters - zeros,
        prunable_weights=prunable,
        all_weights=everything,
        macs_ratio=kept_macs(case.table, layers) / sum(layer.macs for layer in case.table.layers),
        iterations=outcome.iterations,
        layers=layers,
        dense_weights=source,
        seconds=seconds,
        versions={
            "crisp_loop": crisp_loop.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        device=runtime.name,
        sources=sources,
    )
    save_masks(folder / "masks.safetensors", outcome.masks)
    save_weights(folder / "weights.safetensors", model)
    write_json(folder / "summary.json", summary)
    for unfinished in folder.glob("*.checkpoint"):
        unfinished.unlink()
    return summary


def _work_key(model: nn.Module, case: Case, config: PruneConfig, runtime: Runtime) -> str:
    """Hash of all that pruning ``model`` depends on."""
    digest = hashlib.sha256(case.data.stamp.encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    for part in (case.train.images, case.train.labels):
        digest.update(part.contiguous().numpy().tobytes())
    depends_on = (config.model_dump_json(), crisp_loop.__version__, torch.__version__, runtime.name)
    digest.update(json.dumps(depends_on).encode())
    return digest.hexdigest()


def current_sources(dataset: str, weights: Path | None, resize_head: bool) -> Sources:
    """The files that a result would depend on, in the state that they have now.

    Raises:
        CrispLoopError: one of them is missing.
    """
    digest = "" if weights is None else file_hash(weights, "file of weights")
    return Sources(source_stamp(dataset), digest, resize_head)


class _LogFile:
    """``log.jsonl``: written whole at every line, so a reader never sees half of one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []
        write_text(path, "")

    def __call__(self, line: dict[str, object]) -> None:
        self._lines.append(json.dumps(line))
        write_text(self._path, "\n".join(self._lines) + "\n")


@contextmanager
def _phase(name: str, seconds: dict[str, float], config: PruneConfig) -> Iterator[None]:
    """Time one phase, under the seed and the threads of ``config``."""
    start = time.perf_counter()
    with seeded(config):
        yield
    seconds[name] = round(time.perf_counter() - start, 2)
