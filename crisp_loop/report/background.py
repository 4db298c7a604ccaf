"""What a run's other files tell of its results: the pattern, the accuracy, the experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from crisp_loop.core.files import is_file, read_json, read_text
from crisp_loop.core.gemm import Workload
from crisp_loop.core.pattern import NMField

# The report tells a part of what pruning wrote, and leaves the rest alone.
_config = ConfigDict(extra="ignore")


@checked(frozen=True, config=_config)
class Accuracy:
    """Of one set of weights, on samples that it has not seen."""

    samples: int
    top1: float
    """Share of right answers among all of the network's outputs."""
    top1_among_user_classes: float
    """The same among the outputs of the user's classes."""


@checked(frozen=True, config=_config)
class Scores:
    """Accuracy of one set of weights."""

    test: Accuracy


@checked(frozen=True, config=_config)
class Method:
    """How the network was pruned."""

    method: str
    nm: NMField
    block: int
    sparsity: float
    """What was asked for."""


@checked(frozen=True, config=_config)
class Pruning:
    """What the report tells of ``prune/summary.json``."""

    network: str
    dataset: str
    user_classes: tuple[int, ...]
    config: Method
    dense: Scores
    dense_finetuned: Scores | None
    pruned: Scores
    sparsity: float
    """Zeros among the prunable weights."""
    sparsity_all: float
    """Zeros among the weights of all conv and linear layers."""
    macs_ratio: float
    """Multiply-accumulates with non-zero weights over those of the dense network."""


@dataclass(frozen=True)
class BackgroundFiles:
    """Where a run keeps them; those that are not there are not told of."""

    workload: Path | None = None
    """``lower/workload.json``."""
    pruning: Path | None = None
    """``prune/summary.json``."""
    experiment: Path | None = None
    """``experiment.yaml``."""


@dataclass(frozen=True)
class Background:
    """Their content, as far as it belongs to the results."""

    workload: Workload | None = None
    pruning: Pruning | None = None
    experiment: str = ""
    """Text of the experiment file."""


def read_background(files: BackgroundFiles, model: str) -> Background:
    """What there is of ``files``, and is about ``model``.

    A run directory may hold the pruning of an earlier experiment; it belongs to the results only
    if the workload has exactly its share of zeros.

    Raises:
        CrispLoopError: a file that is there and cannot be read.
    """
    workload = pruning = None
    if files.workload is not None and is_file(files.workload):
        workload = read_json(files.workload, Workload, "workload")
        workload = workload if workload.model == model else None
    if files.pruning is not None and is_file(files.pruning):
        pruning = read_json(files.pruning, Pruning, "summary of the pruning")
        ours = pruning.network == model
        if workload is not None:
            ours &= abs(workload.sparsity - pruning.sparsity_all) < 1e-9
        pruning = pruning if ours else None
    there = files.experiment is not None and is_file(files.experiment)
    experiment = read_text(files.experiment, "experiment") if there and files.experiment else ""
    return Background(workload, pruning, experiment)
