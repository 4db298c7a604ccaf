"""Map every GEMM of a workload onto every design."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crisp_loop.accelerators import (
    Accelerator,
    Problem,
    check_nest,
    load_accelerators,
    problem_for,
)
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import is_file, read_json
from crisp_loop.core.gemm import Workload
from crisp_loop.core.mappings import Mapped, MappingFile, read_mappings, write_mappings
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.mapping.explain import Explanation, explain
from crisp_loop.mapping.library import fingerprint, shipped_mappings
from crisp_loop.mapping.mappers import DEFAULT_MAPPER, DEFAULT_SECONDS, mapper_called
from crisp_loop.mapping.objective import DEFAULT_OBJECTIVE, objective_called


@dataclass(frozen=True)
class MapRequest:
    """How mappings are found."""

    objective: str = DEFAULT_OBJECTIVE
    """What they minimise: a name of :data:`crisp_loop.mapping.objective.OBJECTIVES`."""
    mapper: str = DEFAULT_MAPPER
    """Who searches: a name of :data:`crisp_loop.mapping.mappers.MAPPERS`."""
    seconds: float = DEFAULT_SECONDS
    """Time a GEMM and design, for a mapper that would search on and on."""
    fresh: bool = False
    """Search even where a mapping is known."""
    exact: bool = False
    """Whether inputs count by the blocks that the masks really keep, as the engine
    ``analytic-exact`` counts them."""


WRITE_EVERY_S = 5.0
"""What a search that is killed may lose."""


def map_workload(
    workload: Path,
    accelerators: Sequence[str],
    out_dir: Path,
    progress: Progress | None = None,
    request: MapRequest = MapRequest(),
) -> dict[str, MappingFile]:
    """A mapping for every (design, GEMM): one that is known where there is one, else a search.

    Known are those that lie in ``out_dir``, from an earlier run or one that was stopped, and those
    that ship; they count when they are for the design's numbers and were found as requested.

    Args:
        workload: ``workload.json``.
        accelerators: Names of designs, or paths of arch files.
        out_dir: Where ``<accelerator>.yaml`` goes, one file a design.
        progress: Who hears of it.
        request: How mappings are found.

    Returns:
        Design name to its mappings, keyed by :attr:`Problem.key`.

    Raises:
        CrispLoopError: an unknown mapper or objective, or a GEMM that fits nowhere.
    """
    mapper = mapper_called(request.mapper, objective_called(request.objective), request.seconds)
    gemms = read_json(workload, Workload, "workload").gemms
    files: dict[Path, MappingFile] = {}
    searches = []
    for design in load_accelerators(accelerators):
        path = out_dir / f"{design.name}.yaml"
        file = MappingFile(accelerator=design.name, arch=fingerprint(design), mappings={})
        files[path] = file
        known = {} if request.fresh else _known(design, path)
        problems = {
            (p := problem_for(design, gemm, request.exact)).key: (p, gemm.layer) for gemm in gemms
        }
        for key, (problem, layer) in problems.items():
            if key in known and as_requested(known[key], mapper.tool, request.objective):
                file.mappings[key] = known[key]
            else:
                searches.append((design, file, problem, layer))
    written = time.monotonic()
    for design, file, problem, layer in (progress or Quiet()).track(searches, "Searching mappings"):
        file.mappings[problem.key] = mapper.map(design, problem, layer)
        if time.monotonic() - written > WRITE_EVERY_S:
            write_mappings(out_dir / f"{design.name}.yaml", file)
            written = time.monotonic()
    for path, file in files.items():
        write_mappings(path, file)
    return {file.accelerator: file for file in files.values()}


def _known(design: Accelerator, path: Path) -> dict[str, Mapped]:
    """Mappings of exactly this design, those at ``path`` before those that ship."""
    shipped = shipped_mappings(design)
    known = shipped.mappings if shipped else {}
    if is_file(path):
        earlier = read_mappings(path)
        if earlier.arch == fingerprint(design):
            known = known | earlier.mappings
    return known


def as_requested(mapped: Mapped, tool: str, objective: str) -> bool:
    """Whether a mapping was found by that tool for that objective, or written by hand."""
    found = mapped.found
    return found is None or (found.tool, found.objective) == (tool, objective)


def explain_mappings(
    workload: Path, mappings: Path, accelerators: Sequence[str], exact: bool = False
) -> list[Explanation]:
    """Why each mapping wins: one a design and different GEMM, in the order of the layers.

    Args:
        workload: ``workload.json``.
        mappings: Directory with one mapping file a design (:func:`map_workload`).
        accelerators: Names of designs, or paths of arch files.
        exact: As they were found (:attr:`MapRequest.exact`).
    """
    gemms = read_json(workload, Workload, "workload").gemms
    explanations = []
    for design in load_accelerators(accelerators):
        known = read_mappings(mappings / f"{design.name}.yaml").mappings
        layers: dict[str, list[str]] = {}
        problems: dict[str, Problem] = {}
        for gemm in gemms:
            problem = problem_for(design, gemm, exact)
            problems.setdefault(problem.key, problem)
            layers.setdefault(problem.key, []).append(gemm.layer)
        for key, problem in problems.items():
            if key not in known:
                raise CrispLoopError(
                    f"{mappings / design.name}.yaml has no mapping for layer {layers[key][0]!r}"
                    f" ({key}); run the mapping stage again."
                )
            check_nest(design, problem, known[key].nest)
            explanations.append(explain(design, problem, known[key], tuple(layers[key])))
    return explanations
