"""The cost stage: specs in, ``evaluations.json`` out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crisp_loop.core.evaluation import Evaluation, Evaluations
from crisp_loop.core.files import read_json, write_json
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.core.spec import Spec, load_spec
from crisp_loop.cost.analytic import Analytic
from crisp_loop.cost.engine import AUTO, TIMEOUT_S, Engine, EngineOptions, find_engine
from crisp_loop.cost.preflight import check_mapping, check_spec

EVALUATIONS_FILE = "evaluations.json"
FAILED_DIRECTORY = "failed"


def evaluate_specs(
    paths_or_specs: Sequence[Path | Spec],
    engine: str | Engine = AUTO,
    out: Path | None = None,
    progress: Progress | None = None,
    timeout_s: float | None = None,
) -> list[Evaluation]:
    """Price each spec in cycles and energy.

    Args:
        paths_or_specs: YAML files, directories of section files, or specs in memory.
        engine: ``analytic``, ``timeloop``, ``docker``, ``auto`` (timeloop where it is
            installed, else analytic), or an engine with options of your own.
        out: The JSON file to write, for :func:`read_evaluations`. The input and log of a call
            that timeloop-model refused are kept in ``failed/`` beside it.
        progress: Who hears how far it is.
        timeout_s: Seconds that one spec may take on an engine that calls a tool; None for its
            own limit.

    Returns:
        The evaluations, in the order of the specs.

    Raises:
        CrispLoopError: a spec that cannot be read, or that the engine refuses.
    """
    progress = progress or Quiet()
    if isinstance(engine, str):
        keep_dir = out.parent / FAILED_DIRECTORY if out else None
        options = EngineOptions(keep_dir, timeout_s or TIMEOUT_S)
        chosen = find_engine(engine, options)
    else:
        chosen = engine
    specs = [item if isinstance(item, Spec) else load_spec(item) for item in paths_or_specs]
    warnings = [f"{spec.source}: {text}" for spec in specs for text in check_spec(spec)]
    if chosen.name != Analytic.name:  # that one refuses them by itself
        for spec in specs:
            check_mapping(spec)
    if warnings:
        more = f" ({len(warnings) - 1} more like this)" if len(warnings) > 1 else ""
        progress.note(warnings[0] + more)
    if engine == AUTO:
        progress.note(f"Engine: {chosen.name} ({chosen.version()})")
    evaluations = list(chosen.evaluate(specs, progress))
    if out is not None:
        write_json(out, Evaluations(chosen.name, chosen.version(), tuple(evaluations)))
    return evaluations


def read_evaluations(path: Path) -> Evaluations:
    """The evaluations that :func:`evaluate_specs` wrote to ``path``."""
    return read_json(path, Evaluations, "evaluations file")
