"""One pruned network: trained or loaded, pruned for a draw of user classes, measured."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from crisp_loop import __version__
from crisp_loop.core.errors import InputError
from crisp_loop.core.files import sha256
from crisp_loop.core.layers import HEAD, roles
from crisp_loop.core.masks import Masks
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.datasets.registry import load
from crisp_loop.datasets.split import Dataset
from crisp_loop.networks.registry import network as registered
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.batches import as_batches
from crisp_loop.prune.case import check_shape, load_case
from crisp_loop.prune.config import TRAINING, PruneConfig
from crisp_loop.prune.plan import plan_layers
from crisp_loop.prune.results import kept_macs, layer_reports
from crisp_loop.prune.training.dense import EVERY, dense_model
from crisp_loop.prune.training.prune import prune_model
from crisp_loop.prune.training.resume import Checkpoint
from crisp_loop.prune.training.runtime import chosen_runtime, seeded
from crisp_loop.prune.training.task import Task
from crisp_loop.reproduce.work import reached_macs


class Start(BaseModel):
    """What the dense network that pruning starts from depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    data: str
    weights: str = ""
    """A file of trained weights; empty to train."""
    resize_head: bool = False
    training: PruneConfig = PruneConfig()
    """Its options of :data:`~crisp_loop.prune.config.TRAINING`, the others at their defaults."""

    def trained(self, folder: Path, progress: Progress) -> tuple[Dataset, nn.Module]:
        """Data and dense network; weights that are trained are kept in ``folder``.

        Raises:
            CrispLoopError: data or weights that cannot be used.
        """
        config = self.training
        data = load(self.data, config.seed, registered(self.network).input_shape)
        check_shape(self.network, self.data, data)
        table = layer_table(self.network, num_classes=len(data.classes))
        head = next((name for name, role in roles(table).items() if role == HEAD), "")
        kept = folder / f"{self.network}-{sha256(self.model_dump_json())[:12]}.safetensors"
        with seeded(config):
            model, _ = dense_model(
                self.network,
                data,
                config,
                kept,
                Path(self.weights).expanduser() if self.weights else None,
                lambda line: None,
                Quiet() if kept.is_file() else progress,  # that it is used again is no news here
                runtime=chosen_runtime(config),
                head=head,
                resize_head=self.resize_head,
            )
        return data, model


class Point(BaseModel):
    """One pruned network to be: everything that decides what is measured, but the files' state."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    data: str
    user_classes: int
    """How many classes the user meets."""
    draw: int
    """Which classes these are: of one draw, more classes include fewer."""
    config: PruneConfig
    weights: str = ""
    resize_head: bool = False

    @property
    def start(self) -> Start:
        """What the pruning starts from; many points share it."""
        training = PruneConfig(**{name: getattr(self.config, name) for name in TRAINING})
        return Start(
            network=self.network,
            data=self.data,
            weights=self.weights,
            resize_head=self.resize_head,
            training=training,
        )

    def key(self, stamp: str) -> str:
        """Hash of all that the result depends on.

        Args:
            stamp: Tells the state of data and weights.
        """
        versions = (__version__, torch.__version__)
        return sha256(json.dumps([self.model_dump_json(), stamp, *versions]))[:24]


class Found(BaseModel):
    """What was measured of one pruned network."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    classes: tuple[int, ...] = ()
    """Ids of the user's classes."""
    sparsity: float = float("nan")
    """Zeros among the weights of the prunable layers."""
    macs_ratio: float = float("nan")
    """Multiply-accumulates with a kept weight over all of the dense network's."""
    flops_ratio: float = float("nan")
    """The same without those whose input channel is constant because all that leads to it is
    pruned: what is left when pruned channels are taken out."""
    test_samples: int = 0
    test_top1: float = float("nan")
    """Accuracy over all outputs, on the user's classes, 0 to 1."""
    test_top1_among_user_classes: float = float("nan")
    val_top1: float = float("nan")
    left_out: str = ""
    """Why nothing was measured: the pattern cannot reach the sparsity, say."""
    seconds: float = 0.0


def drawn_classes(draw: int, classes: int, count: int) -> tuple[int, ...]:
    """The ``count`` user classes of a draw out of ``classes``, ascending.

    Raises:
        InputError: there are not as many.
    """
    if not 1 <= count <= classes:
        raise InputError("user classes", "", count, f"expected 1 to {classes}, as the data has")
    order = np.random.default_rng(draw).permutation(classes)
    return tuple(sorted(int(label) for label in order[:count]))


def prune_point(
    point: Point,
    data: Dataset,
    dense: nn.Module,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> tuple[Found, Masks | None]:
    """Prune one network and measure it.

    Args:
        point: What is pruned how.
        data: The point's data.
        dense: The network to start from; left as it is.
        checkpoint: Keeps the state of long work.
        progress: Shows the epochs.

    Returns:
        What was measured, and the masks; where the pattern cannot reach the sparsity, why not, and
        None.

    Raises:
        CrispLoopError: network, data and classes do not fit together.
    """
    config = point.config
    classes = drawn_classes(point.draw, len(data.classes), point.user_classes)
    case = load_case(point.network, point.data, classes, config, data)
    try:
        plan = plan_layers(case.table, config)
    except InputError as error:
        if error.field != "sparsity":
            raise
        return Found(classes=classes, left_out=str(error)), None
    started = time.perf_counter()
    task = Task(
        model=copy.deepcopy(dense),
        batches=as_batches(case.train, config.batch_size, config.seed),
        plan=plan,
        config=config,
        runtime=chosen_runtime(config),
        name=point.network,
        progress=progress or Quiet(),
        checkpoint=checkpoint,
    )
    with seeded(config):
        masks = prune_model(task).masks
    seconds = time.perf_counter() - started
    reports = layer_reports(plan, masks)
    prunable = sum(layer.weights for layer in plan.prunable)
    zeros = sum(report.S * report.K - report.nnz for report in reports)
    macs = sum(layer.macs for layer in case.table.layers)
    scores = case.scores(task.model)
    found = Found(
        classes=classes,
        sparsity=zeros / prunable if prunable else 0.0,
        macs_ratio=kept_macs(case.table, reports) / macs,
        flops_ratio=reached_macs(dense, case.table, masks.layers) / macs,
        test_samples=scores.test.samples,
        test_top1=scores.test.top1,
        test_top1_among_user_classes=scores.test.top1_among_user_classes,
        val_top1=scores.val.top1,
        seconds=round(seconds, 2),
    )
    return found, masks


def unfinished(path: Path, key: str) -> Checkpoint:
    """The state of a point that takes long; short ones never write it."""
    return Checkpoint(path, key, EVERY)
