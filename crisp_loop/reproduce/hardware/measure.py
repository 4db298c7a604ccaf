"""ResNet-50's layers on the designs, under one setting and pattern after the other."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.files import read_json
from crisp_loop.core.manifest import Manifest
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.cost.run import evaluate_specs, read_evaluations
from crisp_loop.pipeline.experiment import Experiment, load_experiment
from crisp_loop.pipeline.run import prepare_specs, spec_directories
from crisp_loop.report.rows import results_table
from crisp_loop.reproduce.hardware.settings import BASE, SETTINGS, Setting

NETWORK = "resnet50"
PATTERNS = ("1:4", "2:4", "3:4")
BLOCKS = (16, 32, 64)
KAPPA = 0.9
EVERYTHING = ("dense", "nvidia-stc", "dstc", "crisp-stc")
OURS = ("dense", "crisp-stc")


@dataclass(frozen=True)
class Measured:
    """One setting with one pattern."""

    setting: Setting
    nm: str
    block: int
    accelerators: tuple[str, ...] = EVERYTHING

    @property
    def name(self) -> str:
        """Of its run directory."""
        return f"{self.setting.name}-{self.nm.replace(':', 'of')}-b{self.block}"

    @property
    def kappa(self) -> float:
        """Sparsity of the layers that have none of their own."""
        return self.setting.kappa.get(self.nm, KAPPA)

    @property
    def experiment(self) -> Experiment:
        """It as an experiment that ``crisp-loop eval`` could run."""
        given: dict[str, Any] = {
            "name": self.name,
            "network": NETWORK,
            "masks": "draw",
            "prune": {"nm": self.nm, "block": self.block, "sparsity": self.kappa},
            "accelerators": self.accelerators,
            "engine": "analytic",
        }
        setting = {"arch": self.setting.arch, **self.setting.others}
        return load_experiment(None, given | setting)


def base_points() -> list[Measured]:
    """The shipped designs at every pattern and block."""
    return [Measured(SETTINGS[0], nm, block) for nm in PATTERNS for block in BLOCKS]


def sensitivity_points() -> list[Measured]:
    """Every other setting: all designs at 2:4, CRISP-STC at the other patterns; blocks of 64.

    NVIDIA-STC runs 1:4 as 2:4 and 3:4 dense, and DSTC knows no pattern, so 2:4 says all of them.
    Where inputs are counted exactly, blocks of 16 too, as those of 64 are seldom shared.
    """
    points = []
    for setting in SETTINGS[1:]:
        first, *rest = setting.patterns
        points.append(Measured(setting, first, 64))
        points += [Measured(setting, nm, 64, OURS) for nm in rest]
        if setting.group == "counting":
            points.append(Measured(setting, first, 16, OURS))
    return points


def measure_hardware(
    points: Sequence[Measured], out: Path, progress: Progress | None = None
) -> pd.DataFrame:
    """The rows of all points: ``results.csv``'s columns, with setting, pattern and kappa before.

    Args:
        points: What to measure.
        out: Each gets a run directory here, with its specs; mappings that lie there are kept.
        progress: Who hears of it.
    """
    progress = progress or Quiet()
    tables = []
    for point in progress.track(points, "Settings", len(points)):
        _share_mappings(point, points, out)
        run = prepare_specs(point.experiment, out / point.name, Quiet())
        priced = evaluate_specs(
            spec_directories(run), engine=point.experiment.engine, out=run.evaluations
        )
        manifest = read_json(run.manifest, Manifest, "manifest")
        table = results_table(manifest, read_evaluations(run.evaluations), run.manifest)
        table = table.join(_energies(manifest, priced), on=["layer", "accelerator"])
        told = {
            "setting": point.setting.name,
            "nm": point.nm,
            "B": point.block,
            "kappa": point.kappa,
        }
        tables.append(pd.concat([pd.DataFrame(told, index=table.index), table], axis=1))
    return pd.concat(tables, ignore_index=True)


def _energies(manifest: Manifest, evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Microjoules of each level and of the arithmetic, and of DRAM's inputs alone."""
    rows = []
    for entry, evaluation in zip(manifest.entries, evaluations, strict=True):
        levels = {f"uJ_{level.name}": level.energy_pJ for level in evaluation.levels}
        inputs = evaluation.level("DRAM").tensors["B"].energy_pJ
        each = levels | {"uJ_MAC": evaluation.compute.energy_pJ, "uJ_DRAM_inputs": inputs}
        scaled = {name: 1e-6 * energy * entry.scale for name, energy in each.items()}
        rows.append({"layer": entry.layer, "accelerator": entry.accelerator} | scaled)
    return pd.DataFrame(rows).set_index(["layer", "accelerator"])


def _share_mappings(point: Measured, points: Sequence[Measured], out: Path) -> None:
    """Start from the mappings of the setting's first pattern: the baseline's are the same."""
    first = next(other for other in points if other.setting.name == point.setting.name)
    known, own = out / first.name / "mapping", out / point.name / "mapping"
    if first is not point and point.setting.name != BASE and not own.exists():
        shutil.copytree(known, own)
