"""Map every GEMM of a workload onto every design."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crisp_loop import __version__
from crisp_loop.accelerators import Accelerator, load_accelerator, problem_for
from crisp_loop.core.files import read_json
from crisp_loop.core.gemm import Workload
from crisp_loop.core.mappings import MappingFile, write_mappings
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.mapping.library import fingerprint, shipped_mappings
from crisp_loop.mapping.search import best_mapping


def map_workload(
    workload: Path,
    accelerators: Sequence[str],
    out_dir: Path,
    progress: Progress | None = None,
) -> dict[str, MappingFile]:
    """A mapping for every (design, GEMM): the shipped one where there is one, else a search.

    Args:
        workload: ``workload.json``.
        accelerators: Names of designs, or paths of arch files.
        out_dir: Where ``<accelerator>.yaml`` goes, one file a design.
        progress: Who hears of it.

    Returns:
        Design name to its mappings, keyed by :attr:`Problem.key`.
    """
    gemms = read_json(workload, Workload, "workload").gemms
    jobs = []
    for design in map(load_accelerator, accelerators):
        problems = {(p := problem_for(design, gemm)).key: (p, gemm.layer) for gemm in gemms}
        jobs.append((design, shipped_mappings(design), problems))
    found: dict[str, dict[str, list[str]]] = {design.name: {} for design, _, _ in jobs}
    searches = []
    for design, shipped, problems in jobs:
        for key, (problem, layer) in problems.items():
            if shipped and key in shipped.mappings:
                found[design.name][key] = shipped.mappings[key]
            else:
                searches.append((design, key, problem, layer))
    for design, key, problem, layer in (progress or Quiet()).track(searches, "Searching mappings"):
        found[design.name][key] = best_mapping(design, problem, layer).nest.compact()
    files = {design.name: _file(design, found[design.name]) for design, _, _ in jobs}
    for name, file in files.items():
        write_mappings(out_dir / f"{name}.yaml", file)
    return files


def _file(design: Accelerator, mappings: dict[str, list[str]]) -> MappingFile:
    return MappingFile(
        accelerator=design.name,
        arch=fingerprint(design),
        provenance=f"crisp_loop {__version__}: exhaustive factor splits, screened, best 1 % in"
        " cycles by the analytic engine, then least energy",
        mappings=mappings,
    )
