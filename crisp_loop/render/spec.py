"""Render one Sparseloop v0.3 spec: (accelerator, problem, mapping) to the text of its sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.resources import as_file, files

from jinja2 import DictLoader, Environment, StrictUndefined, TemplateNotFound

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import sha256
from crisp_loop.core.loops import DIMENSIONS, LoopNest

SECTIONS = (
    "architecture",
    "components",
    "energy",
    "problem",
    "sparse_optimizations",
    "mapping",
)
"""Section files of a spec, without ``.yaml``; ``energy`` holds both ERT and ART."""
CYCLE_S = 1e-9
"""Cycle time that Accelergy is told, in seconds."""


def render_spec(
    accelerator: Accelerator,
    problem: Problem,
    nest: LoopNest,
    sections: Sequence[str] = SECTIONS,
) -> dict[str, str]:
    """The section files of one spec, file name to text.

    Args:
        accelerator: The design; its numbers fill the architecture and the energy tables.
        problem: The GEMM as the design runs it (:func:`crisp_loop.accelerators.problem_for`).
        nest: Its mapping, one entry a slot of the design's dataflow.
        sections: Which of :data:`SECTIONS`; all make a spec.

    Returns:
        ``architecture.yaml`` and so on; a mode without sparse features has no
        ``sparse_optimizations.yaml``.
    """
    mode = problem.mode
    context = {
        "accelerator": accelerator,
        "problem": problem,
        "nest": nest,
        "axes": tensor_axes(problem),
        "dimensions": DIMENSIONS,
        "loops_inside": partial(loops_inside, accelerator, problem, nest),
    }
    wanted = [
        section
        for section in sections
        if section != "sparse_optimizations"
        or mode.formats
        or mode.actions
        or mode.compute_optimization
    ]
    try:
        return {f"{section}.yaml": render_section(section, context) for section in wanted}
    except TemplateNotFound as error:
        rules = [name for name in _sources() if name.startswith("formats/")]
        known = ", ".join(name.removeprefix("formats/").split(".")[0] for name in rules)
        raise CrispLoopError(
            f"{accelerator.name}: mode {mode.name!r} has a format without a template:"
            f" {error.name} is missing; the known rules are {known}."
        ) from None


def render_energy(accelerator: Accelerator) -> str:
    """The energy and area reference tables of a design, as in its specs."""
    return render_section("energy", {"accelerator": accelerator})


def render_accelergy(accelerator: Accelerator) -> dict[str, str]:
    """What Accelergy 0.4 takes to estimate a design: file name to text.

    Returns:
        ``accelergy.yaml``, the architecture, and ``components.yaml``, what it is made of.
    """
    context = {"accelerator": accelerator, "cycle_s": CYCLE_S}
    return {f"{name}.yaml": render_section(name, context) for name in ("accelergy", "components")}


def render_section(name: str, context: Mapping[str, object]) -> str:
    """The text of ``templates/<name>.yaml.jinja2`` with what it needs, named at its top."""
    return _environment().get_template(f"{name}.yaml.jinja2").render(context)


def loops_inside(
    accelerator: Accelerator, problem: Problem, nest: LoopNest, tensor: str, level: str
) -> list[tuple[str, int]]:
    """Non-trivial loops (dimension, bound) over a tensor's tile at a level, innermost first."""
    axes = tensor_axes(problem)[tensor]
    names = [each.name for each in accelerator.levels]
    inside = names[names.index(level) :]
    return [
        (dim, bound)
        for loops in reversed(nest.loops)
        if loops.level in inside
        for dim, bound in loops.innermost_first()
        if dim in axes
    ]


def tensor_axes(problem: Problem) -> dict[str, tuple[str, ...]]:
    """Dimensions of each tensor; B has its own R axis where inputs are gathered."""
    return {
        "A": ("R", "M", "Q", "K"),
        "B": ("R", "N", "Q", "K") if problem.gathered else ("N", "Q", "K"),
        "Z": ("R", "M", "N"),
    }


@cache
def _sources() -> dict[str, str]:
    """Name to text of every template."""
    with as_file(files("crisp_loop.templates")) as root:
        return {
            file.relative_to(root).as_posix(): file.read_text(encoding="utf-8")
            for file in sorted(root.rglob("*.jinja2"))
        }


def templates_hash() -> str:
    """SHA-256 over the names and texts of all templates."""
    return sha256("\0".join(part for item in _sources().items() for part in item))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=DictLoader(_sources()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.tests["has"] = lambda group, member: member in group
    return environment
