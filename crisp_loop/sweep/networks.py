"""The GEMMs of a setting: its network with masks drawn, given, or found by pruning."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from crisp_loop.core.files import sha256
from crisp_loop.core.gemm import Gemm
from crisp_loop.core.layers import LayerTable
from crisp_loop.core.progress import Quiet
from crisp_loop.lower.draw import Draw
from crisp_loop.lower.run import gemms_of, sparsity_over
from crisp_loop.networks.registry import network
from crisp_loop.networks.trace import operation_table
from crisp_loop.pipeline.experiment import DRAW, PRUNE, Experiment
from crisp_loop.pipeline.run import (
    RunDirectory,
    check_method,
    draw_of,
    lower_experiment,
    obtain_masks,
    prune_experiment,
)
from crisp_loop.prune.config import TRAINING
from crisp_loop.prune.results import PruneSummary

RUNS, DENSE = "runs", "dense"


@dataclass(frozen=True)
class Lowered:
    """A setting's network as GEMMs."""

    gemms: tuple[Gemm, ...]
    weight_sparsity: float
    """Zeros among the weights of all its layers."""
    summary: PruneSummary | None
    """What its pruning came to; None where masks are drawn or given."""
    run: str
    """Where the pruned network is, from the results' directory; empty without one."""


def lowered(experiment: Experiment, pruning: str, out: Path) -> Lowered:
    """The GEMMs of a setting.

    Args:
        experiment: The setting.
        pruning: Hash of all that decides its pruned network; empty where none is pruned.
        out: The sweep's results. A pruned network is kept in ``runs/<hash>``.

    Raises:
        CrispLoopError: a network, mask or data set that cannot be used.
    """
    if experiment.masks == PRUNE:
        return _pruned(experiment, pruning, out)
    if experiment.masks == DRAW and not experiment.mapping.exact:
        return _drawn(experiment)
    with tempfile.TemporaryDirectory(prefix="crisp_loop-sweep-") as folder:
        run = RunDirectory(Path(folder))
        masks = obtain_masks(experiment, run, Quiet())
        return _lowered(experiment, run, masks, None, "")


def _drawn(experiment: Experiment) -> Lowered:
    """Masks are only counted: which blocks they keep tells ``analytic-exact`` alone."""
    table = _operations(experiment.network, experiment.batch)
    counts = draw_of(experiment).counts_for_network(table)
    density, columns = experiment.activation_density, experiment.columns
    gemms = gemms_of(table.layers, counts, density, columns=columns)
    return Lowered(gemms, sparsity_over(table.layers, gemms), None, "")


@lru_cache(maxsize=8)
def _operations(name: str, batch: int) -> LayerTable:
    table = operation_table(name, network(name).input_shape)
    return replace(table, layers=tuple(layer.of_inputs(batch) for layer in table.layers))


def _pruned(experiment: Experiment, pruning: str, out: Path) -> Lowered:
    """The pruned network in ``runs/<hash>``; who asks for one that is being pruned waits."""
    check_method(experiment)
    run = RunDirectory(out / RUNS / pruning)
    run.root.mkdir(parents=True, exist_ok=True)
    # The lock is the kernel's, so it goes with a process that is killed.
    with FileLock(run.root / ".lock"):
        shared = out / DENSE / f"{_training(experiment)}.safetensors"
        own = run.prune / "dense.safetensors"
        _link(shared, own)
        summary = prune_experiment(experiment, run.root, Quiet())
        _link(own, shared)
        return _lowered(experiment, run, run.masks, summary, f"{RUNS}/{pruning}")


def _lowered(
    experiment: Experiment,
    run: RunDirectory,
    masks: Path | Draw,
    summary: PruneSummary | None,
    told: str,
) -> Lowered:
    work = lower_experiment(experiment, run, masks, Quiet())
    return Lowered(work.gemms, work.sparsity, summary, told)


def _training(experiment: Experiment) -> str:
    """A name that settings share whose dense networks are probably the same.

    Whether they are is told by the header of the file, which pruning checks.
    """
    options = experiment.prune.model_dump(mode="json", include=set(TRAINING))
    decided = (experiment.network, experiment.data, experiment.weights, sorted(options.items()))
    return sha256(repr(decided))[:32]


def _link(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, if there is one and there is no target."""
    if not source.is_file() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.link(source, temporary)
    except OSError:  # a file system without links
        shutil.copyfile(source, temporary)
    temporary.replace(target)
