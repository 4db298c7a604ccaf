"""Render the input of timeloop-mapper: a spec whose mapping is left open within limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import cpu_count
from typing import Any, Literal

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.files import dump_yaml, parse_yaml
from crisp_loop.core.loops import DIMENSIONS, Kind, LoopNest, Loops
from crisp_loop.render.spec import loops_inside, render_section, render_spec

Algorithm = Literal["random_pruned", "linear_pruned", "hybrid", "random", "exhaustive"]
Metric = Literal["delay", "energy", "edp"]


@dataclass(frozen=True)
class MapperOptions:
    """How timeloop-mapper searches; the names are its own."""

    algorithm: Algorithm = "random_pruned"
    metrics: tuple[Metric, ...] = ("delay", "energy")
    """What to minimise, the first one first; the next one decides ties (within 0.1 %)."""
    threads: int = field(default_factory=lambda: cpu_count() or 1)
    victory_condition: int = 0
    """Legal mappings in a row, a thread, that are no better before it stops; 0 for never."""
    timeout: int = 1_000_000
    """Illegal mappings in a row, a thread, before it stops."""


@dataclass(frozen=True)
class Place:
    """What the search may put into one slot of the nest."""

    level: str
    kind: Kind
    order: str
    """The dimensions, innermost first."""
    least: dict[str, int]
    """Smallest loop bound a dimension."""
    most: dict[str, int]
    """Largest loop bound a dimension."""
    split: int | None = None
    """Spatial only: how many of the order's first dimensions lie along X."""

    def constraints(self, bounds: dict[str, int]) -> list[str]:
        """The limits in the tool's words, such as ``K<=4``; nothing where there is no limit.

        Args:
            bounds: The problem's, which no factor can exceed anyway.
        """
        words = []
        for dim in DIMENSIONS:
            least, most = self.least[dim], self.most[dim]
            if least == most:
                words.append(f"{dim}={most}")
                continue
            if least > 1:
                words.append(f"{dim}>={least}")
            if most < bounds[dim]:
                words.append(f"{dim}<={most}")
        return words


def render_mapspace(
    accelerator: Accelerator,
    problem: Problem,
    places: Sequence[Place],
    options: MapperOptions,
) -> dict[str, str]:
    """The section files of one search, file name to text.

    The ranks of a format belong to loops, and a spec states them once for all mappings. So there
    is one for each loop that a mapping may have, and each is tied to its loop's dimension
    (``flattened_rankIDs``): where a mapping lacks the loop, its rank stays empty. Two neighbouring
    loops of one dimension share a rank, so metadata may differ by a little from what
    :func:`crisp_loop.render.render_spec` writes for the mapping that is found.

    Args:
        accelerator: The design.
        problem: The GEMM as the design runs it.
        places: One a slot of the design's dataflow, in its order.
        options: How to search.
    """
    widest = LoopNest(
        tuple(
            Loops(level=place.level, kind=place.kind, factors=place.most, order=place.order)
            for place in places
        )
    )
    texts = render_spec(accelerator, problem, widest)
    del texts["mapping.yaml"]
    if formats := texts.get("sparse_optimizations.yaml"):
        texts["sparse_optimizations.yaml"] = dump_yaml(
            _tied(parse_yaml(formats, "sparse_optimizations.yaml"), accelerator, problem, widest)
        )
    context = {
        "accelerator": accelerator,
        "problem": problem,
        "places": places,
        "options": options,
    }
    return texts | {
        f"{section}.yaml": render_section(section, context) for section in ("constraints", "mapper")
    }


def _tied(
    section: dict[str, Any], accelerator: Accelerator, problem: Problem, nest: LoopNest
) -> dict[str, Any]:
    """``section`` with each rank tied to the dimension of its loop in ``nest``."""
    for target in section["sparse_optimizations"]["targets"]:
        formats = target.get("representation_format", {"data_spaces": []})
        for tensor in formats["data_spaces"]:
            loops = loops_inside(accelerator, problem, nest, tensor["name"], target["name"])
            # Ranks stand outermost first, and a tensor without loops has one all the same.
            for rank, (dim, _) in zip(reversed(tensor["ranks"]), loops, strict=False):
                rank["flattened_rankIDs"] = [[dim]]
    return section
