"""Map every GEMM of a workload onto every design."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crisp_loop import __version__
from crisp_loop.accelerators import Accelerator, Problem, load_accelerator, problem_for
from crisp_loop.core.files import read_json
from crisp_loop.core.gemm import Workload
from crisp_loop.core.mappings import (
    Mapped,
    MappingFile,
    Provenance,
    read_mappings,
    write_mappings,
)
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.mapping.explain import Explanation, explain
from crisp_loop.mapping.library import fingerprint, shipped_mappings
from crisp_loop.mapping.objective import DEFAULT_OBJECTIVE, Objective, objective_called
from crisp_loop.mapping.search import best_mapping


def map_workload(
    workload: Path,
    accelerators: Sequence[str],
    out_dir: Path,
    progress: Progress | None = None,
    objective: str = DEFAULT_OBJECTIVE,
    fresh: bool = False,
) -> dict[str, MappingFile]:
    """A mapping for every (design, GEMM): the shipped one where there is one, else a search.

    Args:
        workload: ``workload.json``.
        accelerators: Names of designs, or paths of arch files.
        out_dir: Where ``<accelerator>.yaml`` goes, one file a design.
        progress: Who hears of it.
        objective: What a mapping minimises, a name of :data:`OBJECTIVES`.
        fresh: Search even where a mapping ships.

    Returns:
        Design name to its mappings, keyed by :attr:`Problem.key`.

    Raises:
        CrispLoopError: an unknown objective, or a GEMM that fits nowhere.
    """
    goal = objective_called(objective)
    gemms = read_json(workload, Workload, "workload").gemms
    files: dict[str, MappingFile] = {}
    searches = []
    for design in map(load_accelerator, accelerators):
        file = MappingFile(accelerator=design.name, arch=fingerprint(design), mappings={})
        files[design.name] = file
        shipped = None if fresh else shipped_mappings(design)
        problems = {(p := problem_for(design, gemm)).key: (p, gemm.layer) for gemm in gemms}
        for key, (problem, layer) in problems.items():
            known = shipped.mappings.get(key) if shipped else None
            if known and known.found and known.found.objective == objective:
                file.mappings[key] = known
            else:
                searches.append((design, file, problem, layer))
    for design, file, problem, layer in (progress or Quiet()).track(searches, "Searching mappings"):
        file.mappings[problem.key] = _search(design, problem, layer, goal)
    for name, file in files.items():
        write_mappings(out_dir / f"{name}.yaml", file)
    return files


def explain_mappings(
    workload: Path, mappings: Path, accelerators: Sequence[str]
) -> list[Explanation]:
    """Why each mapping wins: one a design and different GEMM, in the order of the layers.

    Args:
        workload: ``workload.json``.
        mappings: Directory with one mapping file a design (:func:`map_workload`).
        accelerators: Names of designs, or paths of arch files.
    """
    gemms = read_json(workload, Workload, "workload").gemms
    explanations = []
    for design in map(load_accelerator, accelerators):
        known = read_mappings(mappings / f"{design.name}.yaml").mappings
        layers: dict[str, list[str]] = {}
        problems: dict[str, Problem] = {}
        for gemm in gemms:
            problem = problem_for(design, gemm)
            problems.setdefault(problem.key, problem)
            layers.setdefault(problem.key, []).append(gemm.layer)
        explanations += [
            explain(design, problem, known[key], tuple(layers[key]))
            for key, problem in problems.items()
        ]
    return explanations


def _search(design: Accelerator, problem: Problem, layer: str, objective: Objective) -> Mapped:
    best = best_mapping(design, problem, layer, objective)
    found = Provenance(
        by=f"crisp_loop {__version__}, branch and bound",
        objective=objective.name,
        cycles=best.cycles,
        energy_uJ=float(f"{best.energy_pJ * 1e-6:.9g}"),
        mapspace=best.candidates,
        priced=best.evaluated,
    )
    return Mapped(loops=tuple(best.nest.compact()), found=found)
