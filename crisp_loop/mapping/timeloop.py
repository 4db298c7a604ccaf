"""timeloop-mapper as the mapper: the tool searches the same space, by the same dataflow."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.accelerators.schema import Slot
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import parse_yaml, read_text, sha256, validated, write_text
from crisp_loop.core.loops import DIMENSIONS, Kind, LoopNest, Loops
from crisp_loop.render import spec_of
from crisp_loop.render.mapspace import MapperOptions, Place, render_mapspace
from crisp_loop.sparseloop import IllegalMappingError, evaluate
from crisp_loop.tools.failures import explain
from crisp_loop.tools.kept import keep_failure
from crisp_loop.tools.processes import Processes
from crisp_loop.tools.programs import MAPPER, call_environment, find_program

INPUT = "input.yaml"
LOG = f"{MAPPER}.log"
FOUND = f"{MAPPER}.map.yaml"
GRACE_S = 30.0
"""Seconds that the tool has to write down its best mapping once its time is up."""
TIE = 0.001
"""Mappings this close in a metric tie, as they do for timeloop-mapper."""


def timeloop_mapping(
    accelerator: Accelerator,
    problem: Problem,
    name: str = "",
    seconds: float = 120.0,
    options: MapperOptions | None = None,
    keep_dir: Path | None = None,
) -> LoopNest:
    """The best mapping that timeloop-mapper finds in the time given.

    The tool is given the design's dataflow as constraints. Those fix one loop order a slot, and
    cannot say "a multiple of", so it is called once for each choice of orders (and of lanes, where
    a pattern's groups need that), one call after the other, and the time is shared among them. The
    problem is mapped as it is: N is not padded.

    Args:
        accelerator: The design.
        problem: The GEMM as the design runs it.
        name: What to call the GEMM in messages.
        seconds: Time for all calls together. Reading and writing come on top.
        options: How the tool searches.
        keep_dir: Where the input and log of a call that failed are kept; None leaves them in the
            system's temporary directory.

    Raises:
        CrispLoopError: the tool is missing or failed, or found no mapping in this time.
    """
    options = options or MapperOptions()
    name = name or problem.key
    for relaxed in (False, True) if accelerator.relax else (False,):
        calls = list(_calls(accelerator, problem, relaxed))
        until = time.monotonic() + seconds
        found: list[_Found] = []
        for index, places in enumerate(calls):
            share = (until - time.monotonic()) / (len(calls) - index)
            texts = render_mapspace(accelerator, problem, places, options)
            directives = _search(texts, name, max(share, 1.0), keep_dir)
            if directives:
                nest = _nest(accelerator, places, directives)
                found += _priced(accelerator, problem, nest)
        if found:
            return _best(found, options)
    raise CrispLoopError(
        f"{accelerator.name}: {MAPPER} found no mapping of {name} within {seconds:g} s;"
        " give it more time, or relax the design's dataflow."
    )


@dataclass(frozen=True)
class _Found:
    """A mapping with what the analytic engine says of its spec."""

    nest: LoopNest
    cycles: int
    energy_uJ: float

    def cost(self, metric: str) -> float:
        """The figure that timeloop-mapper calls ``metric``."""
        if metric == "delay":
            return float(self.cycles)
        return self.energy_uJ * (self.cycles if metric == "edp" else 1)


class _Directive(BaseModel):
    """One entry of the mapping that the tool writes."""

    model_config = ConfigDict(extra="ignore")

    target: str
    type: str
    factors: Annotated[str, Field(pattern=r"^([A-Z][0-9]{1,18} ?)*$")] = ""
    permutation: str = ""

    def bounds(self) -> dict[str, int]:
        """Loop bound a dimension."""
        given = {dim: int(bound) for dim, bound in re.findall(r"([A-Z])([0-9]+)", self.factors)}
        return dict.fromkeys(DIMENSIONS, 1) | given


def _calls(
    accelerator: Accelerator, problem: Problem, relaxed: bool
) -> Iterator[tuple[Place, ...]]:
    """What to ask for, one call at a time; together they are the whole mapspace."""
    choices = []
    for slot in accelerator.dataflow:
        different: dict[tuple[object, ...], Place] = {}
        for order, lanes in product(slot.orders, _lane_factors(slot, problem)):
            place = _place(slot, order, lanes, problem, accelerator.relax if relaxed else ())
            loops = tuple(dim for dim in order if place.most[dim] > 1)
            different.setdefault((loops, lanes), place)
        choices.append(different.values())
    yield from product(*choices)


def _lane_factors(slot: Slot, problem: Problem) -> list[tuple[int, int]]:
    """(least, most) of K across the lanes, as few pairs as name its legal factors and no others."""
    if slot.kind != "spatial" or "K" not in slot.dims:
        return [(1, 1)]
    largest = min(problem.lanes(slot.dims["K"] or problem.bounds["K"]), problem.bounds["K"])
    divisors = [f for f in range(1, largest + 1) if problem.bounds["K"] % f == 0]
    legal = [factor for factor in divisors if factor % problem.lane_step == 0]
    between = [factor for factor in divisors if legal and factor >= legal[0]]
    if legal == between:
        return [(legal[0], legal[-1])] if legal else []
    return [(factor, factor) for factor in legal]


def _place(
    slot: Slot,
    order: str,
    lanes: tuple[int, int],
    problem: Problem,
    relax: tuple[tuple[str, Any], ...],
) -> Place:
    least = dict.fromkeys(DIMENSIONS, 1)
    most = {}
    for dim in DIMENSIONS:
        whole = problem.bounds[dim]
        if slot.kind == "temporal" and (slot.level, dim) in relax:
            most[dim] = whole
        elif dim in slot.dims:
            most[dim] = min(slot.dims[dim] or whole, whole)
        else:
            most[dim] = 1
    if slot.kind == "spatial" and "K" in slot.dims:
        least["K"], most["K"] = lanes
    return Place(slot.level, slot.kind, order, least, most, slot.split)


def _search(
    texts: dict[str, str], name: str, seconds: float, keep_dir: Path | None
) -> list[_Directive]:
    """One call of the tool; nothing where it found no legal mapping."""
    binary = find_program(MAPPER)
    scratch = Path(tempfile.mkdtemp(prefix=f"crisp_loop-{MAPPER}-"))
    try:
        write_text(scratch / INPUT, "\n".join(texts.values()))
        with (scratch / LOG).open("wb") as log:
            status = Processes().run(
                _command(scratch, binary),
                cwd=scratch,
                env=call_environment(binary),
                log=log.fileno(),
                timeout_s=seconds + GRACE_S,
                interrupt_s=seconds,
            )
        said = (scratch / LOG).read_text(encoding="utf-8", errors="replace")
        if status is None:
            raise _failed(scratch, binary, name, "it did not stop when its time was up", keep_dir)
        if status != 0 or not (scratch / FOUND).is_file():
            raise _failed(scratch, binary, name, explain(said, status), keep_dir)
        text = read_text(scratch / FOUND)
        if not text.strip():
            return []
        return _directives(text, FOUND)
    except OSError as error:
        raise CrispLoopError(f"{binary} cannot be started: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _directives(text: str, where: str) -> list[_Directive]:
    data = parse_yaml(text, where)
    entries = data.get("mapping") if isinstance(data, dict) else None
    return validated(entries, list[_Directive], where)


def _command(directory: Path, binary: Path) -> list[str]:
    return [str(binary), "-o", str(directory), str(directory / INPUT)]


def _failed(
    scratch: Path, binary: Path, name: str, cause: str, keep_dir: Path | None
) -> CrispLoopError:
    """Keep a failed call's input and log; the error that points to them."""
    digest = sha256((scratch / INPUT).read_bytes())[:8]
    kept, rerun = keep_failure(
        scratch, keep_dir, f"{MAPPER}-{digest}", lambda kept: _command(kept, binary)
    )
    return CrispLoopError(
        f"{name} was not mapped by {MAPPER}: {cause}; log {kept / LOG}; rerun: {rerun}"
    )


def _nest(
    accelerator: Accelerator, places: tuple[Place, ...], directives: list[_Directive]
) -> LoopNest:
    """The tool's mapping as a nest; its loops are checked to lie within what was asked for."""
    said: dict[tuple[str, str], _Directive] = {(d.target, d.type): d for d in directives}
    loops = []
    for place in places:
        directive = said.pop((place.level, place.kind), None)
        factors = directive.bounds() if directive else dict.fromkeys(DIMENSIONS, 1)
        outer = [dim for dim in (directive.permutation if directive else "") if factors[dim] > 1]
        if outer != [dim for dim in place.order if factors[dim] > 1] or any(
            not place.least[dim] <= factors[dim] <= place.most[dim] for dim in DIMENSIONS
        ):
            raise CrispLoopError(
                f"{accelerator.name}: {MAPPER} left the dataflow at {place.level} ({place.kind}):"
                f" {directive.factors if directive else 'no loops'} is not within"
                f" {' '.join(place.constraints(place.most))} in the order {place.order}."
            )
        kind: Kind = place.kind
        loops.append(Loops(level=place.level, kind=kind, factors=factors, order=place.order))
    for directive in said.values():
        if any(bound > 1 for bound in directive.bounds().values()):
            raise CrispLoopError(
                f"{accelerator.name}: {MAPPER} put {directive.type} loops at {directive.target},"
                " where the dataflow has none; add a slot for them."
            )
    return LoopNest(tuple(loops))


def _priced(accelerator: Accelerator, problem: Problem, nest: LoopNest) -> list[_Found]:
    """The mapping with the figures of its own spec, unless that is illegal."""
    try:
        seen = evaluate(spec_of(accelerator, problem, nest))
    except IllegalMappingError:
        return []
    return [_Found(nest, seen.cycles, seen.energy_uJ)]


def _best(found: list[_Found], options: MapperOptions) -> LoopNest:
    """The best by the metrics in turn."""
    left = found
    for metric in options.metrics:
        least = min(each.cost(metric) for each in left)
        left = [each for each in left if each.cost(metric) <= least * (1 + TIE)]
    return left[0].nest
