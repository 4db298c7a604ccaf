"""Run an experiment: each stage reads what the one before it wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from crisp_loop import __version__
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import dump_yaml, is_file, read_json, validated, write_json, write_text
from crisp_loop.core.gemm import Workload
from crisp_loop.core.layers import LayerTable
from crisp_loop.core.manifest import Manifest
from crisp_loop.core.mappings import MappingFile
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.cost.run import evaluate_specs
from crisp_loop.layers import read_layers
from crisp_loop.lower.draw import Draw
from crisp_loop.lower.run import lower_network
from crisp_loop.mapping.explain import Explanation
from crisp_loop.mapping.run import explain_mappings, map_workload
from crisp_loop.networks.registry import network
from crisp_loop.networks.trace import layer_table, operation_table
from crisp_loop.pack.run import pack_masks
from crisp_loop.pipeline.designs import changed_designs, with_baseline
from crisp_loop.pipeline.experiment import DRAW, PRUNE, Experiment
from crisp_loop.pipeline.request import SpecRequest
from crisp_loop.prune.reprune import RepruneSummary, Start, reprune
from crisp_loop.prune.results import PruneSummary
from crisp_loop.prune.run import current_sources, prune_network
from crisp_loop.report.background import BackgroundFiles
from crisp_loop.report.run import Report, write_report
from crisp_loop.specs.run import write_specs

LOWERED = ("crisp", "nm", "dense")
"""The pruning methods whose masks can be packed and lowered."""


@dataclass(frozen=True)
class RunDirectory:
    """Where each stage's files are."""

    root: Path

    @property
    def experiment(self) -> Path:
        """The experiment as it was run, defaults filled in."""
        return self.root / "experiment.yaml"

    @property
    def prune(self) -> Path:
        """Trained weights, masks, layer table."""
        return self.root / "prune"

    @property
    def layers(self) -> Path:
        """The layer table."""
        return self.prune / "layers.json"

    @property
    def masks(self) -> Path:
        """The masks that pruning found."""
        return self.prune / "masks.safetensors"

    @property
    def weights(self) -> Path:
        """The masked weights."""
        return self.prune / "weights.safetensors"

    @property
    def summary(self) -> Path:
        """Accuracy and sparsity after pruning."""
        return self.prune / "summary.json"

    @property
    def pack(self) -> Path:
        """Packed weights and the storage table."""
        return self.root / "pack"

    @property
    def operations(self) -> Path:
        """The layer table with the products of activations that pruning does not know."""
        return self.root / "lower" / "layers.json"

    @property
    def workload(self) -> Path:
        """The GEMMs."""
        return self.root / "lower" / "workload.json"

    @property
    def arch(self) -> Path:
        """Designs with fields changed; only where an experiment changes some."""
        return self.root / "arch"

    @property
    def mapping(self) -> Path:
        """Mappings, one file a design."""
        return self.root / "mapping"

    @property
    def specs(self) -> Path:
        """Rendered specs."""
        return self.root / "specs"

    @property
    def manifest(self) -> Path:
        """Which spec stands for which layer on which design."""
        return self.specs / "manifest.json"

    @property
    def evaluations(self) -> Path:
        """What the engine said."""
        return self.root / "cost" / "evaluations.json"


def run_experiment(
    experiment: Experiment,
    out: Path,
    progress: Progress | None = None,
    timeout_s: float | None = None,
) -> Report:
    """The whole flow; results and every intermediate file land under ``out``.

    Training and pruning are kept when nothing that decides them has changed, so a run that was
    stopped, or that differs only in its designs, goes on from there.
    """
    progress = progress or Quiet()
    run = prepare_specs(experiment, out, progress)
    evaluate_specs(
        spec_directories(run),
        engine=experiment.engine,
        out=run.evaluations,
        progress=progress,
        timeout_s=timeout_s,
    )
    return report_run(run)


def report_run(run: RunDirectory) -> Report:
    """Page, tables and figure of a run that has been priced."""
    known = BackgroundFiles(run.workload, run.summary, run.experiment)
    return write_report(run.manifest, run.evaluations, run.root, known)


def prepare_specs(experiment: Experiment, out: Path, progress: Progress) -> RunDirectory:
    """Every stage up to rendered specs."""
    map_experiment(experiment, out, progress)
    run = RunDirectory(out)
    write_specs(run.workload, run.mapping, run_designs(experiment, run), run.specs, progress)
    return run


def layer_specs(
    layers: Path, request: SpecRequest, masks: Path | None, out: Path, progress: Progress
) -> RunDirectory:
    """Specs for the layers of a file (:func:`crisp_loop.layers.read_layers`).

    Every layer that can hold the pattern gets it, from ``masks`` where they are given.
    """
    table = read_layers(layers)
    run = RunDirectory(out)
    write_json(run.layers, table)
    # No layer of a list reads the network's input, as far as the list tells.
    density = Experiment().activation_density
    lower_network(
        run.layers, masks or request.draw, run.workload.parent, density, density, progress=progress
    )
    designs = changed_designs(request.accelerators, request.arch, run.arch)
    map_workload(run.workload, designs, run.mapping, progress, request.mapping)
    sources = [layers, *([masks] if masks else [])]
    write_specs(run.workload, run.mapping, designs, run.specs, progress, sources)
    return run


def map_experiment(
    experiment: Experiment, out: Path, progress: Progress, fresh: bool = False
) -> dict[str, MappingFile]:
    """Every stage up to mappings; ``fresh`` ones even where mappings ship."""
    run = RunDirectory(out)
    masks = obtain_masks(experiment, run, progress)
    write_text(run.experiment, dump_yaml(experiment.model_dump(mode="json")))
    lower_experiment(experiment, run, masks, progress)
    request = replace(experiment.mapping, fresh=fresh)
    return map_workload(run.workload, run_designs(experiment, run), run.mapping, progress, request)


def lower_experiment(
    experiment: Experiment, run: RunDirectory, masks: Path | Draw, progress: Progress
) -> Workload:
    """The GEMMs of everything that the network computes, once there are masks."""
    write_operations(experiment.network, run, experiment.batch)
    return lower_network(
        run.operations,
        masks,
        run.workload.parent,
        experiment.activation_density,
        progress=progress,
        columns=experiment.columns,
    )


def explain_experiment(experiment: Experiment, out: Path) -> list[Explanation]:
    """Why the mappings of a run win."""
    run = RunDirectory(out)
    designs = run_designs(experiment, run)
    return explain_mappings(run.workload, run.mapping, designs, experiment.mapping.exact)


def prune_experiment(experiment: Experiment, out: Path, progress: Progress) -> PruneSummary:
    """Train and prune; an earlier result in ``out`` that the same options led to is kept."""
    run = RunDirectory(out)
    weights = Path(experiment.weights).expanduser() if experiment.weights else None
    if known := _earlier_pruning(experiment, weights, run):
        progress.note(f"Masks and weights of an earlier run with these options: {run.prune}")
        return known
    return prune_network(
        experiment.network,
        experiment.data,
        experiment.user_classes,
        experiment.prune,
        out,
        weights=weights,
        resize_head=experiment.resize_head,
        progress=progress,
    )


class Reprune(BaseModel):
    """What can be wrong in a request to prune again."""

    model_config = ConfigDict(extra="forbid")

    classes: tuple[int, ...]
    start: Start


def reprune_run(
    earlier: Path,
    classes: Sequence[int | str],
    out: Path,
    start: str,
    options: Mapping[str, Any],
    progress: Progress,
) -> tuple[RepruneSummary, PruneSummary]:
    """Prune the network of the run directory ``earlier`` for other ``classes``, into ``out``."""
    asked = validated({"classes": classes, "start": start}, Reprune, "command line")
    return reprune(
        earlier, asked.classes, out, start=asked.start, options=options, progress=progress
    )


def _earlier_pruning(
    experiment: Experiment, weights: Path | None, run: RunDirectory
) -> PruneSummary | None:
    """The summary in the run directory, if it is whole and the same options led to it."""
    if not all(is_file(file) for file in (run.layers, run.masks, run.weights)):
        return None
    try:
        known = read_summary(run.root)
    except CrispLoopError:  # missing, or of another version: prune anew
        return None
    asked = (experiment.network, experiment.data, experiment.user_classes, experiment.prune)
    same = (
        asked == (known.network, known.dataset, known.user_classes, known.config)
        and known.versions.get("crisp_loop") == __version__
        and known.sources == current_sources(experiment.data, weights, experiment.resize_head)
    )
    return known if same else None


def read_summary(out: Path) -> PruneSummary:
    """What pruning in the run directory ``out`` came to."""
    return read_json(RunDirectory(out).summary, PruneSummary, "summary of the pruning")


def obtain_masks(experiment: Experiment, run: RunDirectory, progress: Progress) -> Path | Draw:
    """Masks by pruning, from a file, or as a draw; the layer table lies beside them."""
    if experiment.masks == PRUNE:
        check_method(experiment)
        prune_experiment(experiment, run.root, progress)
        pack_masks(run.weights, run.masks, run.pack, progress)
        return run.masks
    entry = network(experiment.network)
    write_json(run.layers, layer_table(experiment.network, entry.input_shape))
    return draw_of(experiment) if experiment.masks == DRAW else Path(experiment.masks)


def check_method(experiment: Experiment) -> None:
    """Refuse to price what a method leaves behind that no spec can say.

    Raises:
        CrispLoopError: such a method.
    """
    method = experiment.prune.method
    if method not in LOWERED:
        raise CrispLoopError(
            f"prune: method: {method} leaves no pattern that the designs' specs can hold;"
            f" expected {', '.join(LOWERED)}, or crisp-loop prune to prune alone."
        )


def draw_of(experiment: Experiment) -> Draw:
    """How an experiment draws masks."""
    pattern, profile = experiment.prune, tuple(experiment.profile.items())
    return Draw(pattern.nm, pattern.block, pattern.sparsity, pattern.seed, profile=profile)


def write_operations(name: str, run: RunDirectory, batch: int = 1) -> None:
    """All that the network computes on ``batch`` inputs: its layers, sized for the data, and
    attention's products."""
    sized = read_json(run.layers, LayerTable, "layer table")
    layers = {layer.name: layer for layer in sized.layers}
    everything = operation_table(name, network(name).input_shape)
    table = tuple(layers.get(layer.name, layer).of_inputs(batch) for layer in everything.layers)
    write_json(run.operations, replace(sized, layers=table))


def run_designs(experiment: Experiment, run: RunDirectory) -> tuple[str, ...]:
    """The baseline and the experiment's designs, as the stages take them."""
    return changed_designs(with_baseline(experiment.accelerators), experiment.arch, run.arch)


def spec_directories(run: RunDirectory) -> list[Path]:
    """The rendered specs in the manifest's order."""
    manifest = read_json(run.manifest, Manifest, "manifest")
    return [run.specs / entry.spec for entry in manifest.entries]
