"""The pruning stage: train or load a network, prune it for a user's classes, measure it."""

from __future__ import annotations

import copy
import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

import crisp_loop
from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import sha256, write_json, write_text
from crisp_loop.core.layers import HEAD, roles
from crisp_loop.core.masks import save_masks
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.datasets.registry import load, source_stamp
from crisp_loop.datasets.split import check_classes, user_samples
from crisp_loop.networks.registry import NETWORKS
from crisp_loop.networks.registry import network as registered
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.batches import as_batches
from crisp_loop.prune.checkpoints import save_weights
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.crisp import crisp
from crisp_loop.prune.dense import dense_model, finetune_dense
from crisp_loop.prune.finetune import accuracy
from crisp_loop.prune.plan import plan_layers
from crisp_loop.prune.results import PruneSummary, Scores, Sources, layer_reports


def prune_network(
    network: str,
    dataset: str,
    user_classes: Sequence[int],
    config: PruneConfig,
    out_dir: Path,
    *,
    weights: Path | None = None,
    resize_head: bool = False,
    progress: Progress | None = None,
) -> PruneSummary:
    """Prune ``network`` for the ``user_classes`` of ``dataset``.

    Writes under ``out_dir/prune``: ``layers.json`` (the layer table), ``dense.safetensors``
    (the trained dense weights, used again while the options of the training stay the same),
    ``masks.safetensors``, ``weights.safetensors`` (the whole pruned state_dict), ``log.jsonl``,
    and last ``summary.json``. What can be checked is checked before any training.

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
        progress: Shows the epochs.

    Returns:
        What ``summary.json`` holds.

    Raises:
        CrispLoopError: anything the user can mend, in one sentence.
    """
    progress = progress or Quiet()
    entry = registered(network)
    sources = current_sources(dataset, weights, resize_head)
    data = load(dataset, config.seed, entry.input_shape)
    classes = check_classes(user_classes, data)
    train_share = user_samples(data.train, classes, config.samples_per_class, config.seed)
    val_share, test_share = user_samples(data.val, classes), user_samples(data.test, classes)
    shape = tuple(data.train.images.shape[1:])
    if shape != entry.input_shape:
        takers = [name for name, other in NETWORKS.items() if other.input_shape == shape]
        raise InputError(
            network,
            "input_shape",
            "x".join(map(str, entry.input_shape)),
            f"{dataset} holds images of {'x'.join(map(str, shape))}, which"
            f" {', '.join(takers) or 'no network'} can take (folder:PATH fits any)",
        )
    table = layer_table(network, shape, num_classes=len(data.classes))
    plan = plan_layers(table, config)
    head = next((name for name, role in roles(table).items() if role == HEAD), "")
    folder = out_dir / "prune"
    # A summary says that the files beside it belong together, so an old one goes first.
    (folder / "summary.json").unlink(missing_ok=True)
    write_json(folder / "layers.json", table)
    log = _LogFile(folder / "log.jsonl")
    seconds: dict[str, float] = {}

    def scores(model: nn.Module) -> Scores:
        return Scores(
            val=accuracy(model, val_share, classes), test=accuracy(model, test_share, classes)
        )

    with _phase("train", seconds, config):
        model, source = dense_model(
            network,
            data,
            config,
            folder / "dense.safetensors",
            weights,
            log,
            progress,
            head=head,
            resize_head=resize_head,
        )
    dense = scores(model)
    all_classes = range(len(data.classes))
    dense_all_classes = Scores(
        val=accuracy(model, data.val, all_classes), test=accuracy(model, data.test, all_classes)
    )

    with _phase("finetune_dense", seconds, config):
        bound = copy.deepcopy(model)
        batches = as_batches(train_share, config.batch_size, config.seed)
        finetune_dense(bound, batches, config, log, progress)
    dense_finetuned = scores(bound)

    with _phase("prune", seconds, config):
        batches = as_batches(train_share, config.batch_size, config.seed)
        masks, iterations = crisp(
            model, batches, plan, config, name=network, log=log, progress=progress
        )

    layers = layer_reports(plan, masks)
    zeros = sum(layer.S * layer.K - layer.nnz for layer in layers)
    prunable = sum(layer.weights for layer in plan.prunable)
    everything = sum(layer.weights for layer in table.layers)
    kept_macs = sum(
        report.nnz * layer.N for report, layer in zip(layers, table.layers, strict=True)
    )
    summary = PruneSummary(
        network=network,
        dataset=dataset,
        user_classes=classes,
        config=config,
        samples=len(train_share),
        dense_all_classes=dense_all_classes,
        dense=dense,
        dense_finetuned=dense_finetuned,
        pruned=scores(model),
        sparsity=zeros / prunable,
        sparsity_all=zeros / everything,
        parameters=table.parameters,
        prunable_weights=prunable,
        all_weights=everything,
        macs_ratio=kept_macs / sum(layer.macs for layer in table.layers),
        iterations=tuple(iterations),
        layers=layers,
        dense_weights=source,
        seconds=seconds,
        versions={
            "crisp_loop": crisp_loop.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        sources=sources,
    )
    save_masks(folder / "masks.safetensors", masks)
    save_weights(folder / "weights.safetensors", model)
    write_json(folder / "summary.json", summary)
    return summary


def current_sources(dataset: str, weights: Path | None, resize_head: bool) -> Sources:
    """The files that a result would depend on, in the state that they have now.

    Raises:
        CrispLoopError: one of them is missing.
    """
    if weights is not None and not weights.is_file():
        what = "is a directory" if weights.is_dir() else "does not exist"
        raise CrispLoopError(f"{weights} {what}; expected a file of weights.")
    digest = "" if weights is None else sha256(weights.read_bytes())
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
    """Time one phase, under the seed and the threads of ``config``; both are put back afterwards.

    A phase so gives the same result whether the phases before it ran or were reused.
    """
    start = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            yield
    finally:
        torch.set_num_threads(threads)
    seconds[name] = round(time.perf_counter() - start, 2)
