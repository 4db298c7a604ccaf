"""The sweep file: what all points share, and the grids that they span."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from crisp_loop.accelerators import DesignFile, read_design
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import read_yaml, validated
from crisp_loop.pipeline.experiment import Experiment
from crisp_loop.prune.config import PruneConfig

ACCELERATOR, ARCH = "accelerator", "arch"
NO_AXES = ("name", "prune", "accelerators", ARCH)
"""Keys of an experiment that are no setting: a section, and what decides designs."""
PRUNE_AXES = tuple(PruneConfig.model_fields)
"""Axes that stand in an experiment's section ``prune``."""
SETTING_AXES = (
    *(name for name in Experiment.model_fields if name not in NO_AXES),
    *PRUNE_AXES,
)
"""Axes that decide a network and its masks, and how it is priced: an experiment's keys."""
MOST_POINTS = 100_000_000
"""Points of a grid; a dozen short axes would be more than anybody waits for."""
Changes = tuple[tuple[str, Any], ...]
"""Paths of a design's fields with their values."""


def _check_number(points: int) -> None:
    if points > MOST_POINTS:
        raise ValueError(
            f"{points:,} combinations are more than {MOST_POINTS:,}; divide them among sweeps"
        )


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class Grid(BaseModel):
    """Axes with their values; every combination is a point. A single value needs no list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: dict[str, tuple[Any, ...]] = {}
    """Axis (one of :data:`SETTING_AXES`) to its values."""
    accelerators: Annotated[tuple[str, ...], Field(min_length=1)] = Experiment().accelerators
    """Designs: names of ``arch/*.yaml``, or paths of your own."""
    arch: tuple[Changes, ...] = ((),)
    """Changes of designs, each tried on every design: ``SMEM.depth`` of all of them, or
    ``dstc/SMEM.depth`` of one."""

    @model_validator(mode="after")
    def _can_be_held(self) -> Grid:
        settings = prod(map(len, self.settings.values()))
        _check_number(settings * len(self.accelerators) * len(self.arch))
        return self

    def choices(self) -> Iterator[dict[str, Any]]:
        """Every combination of the setting axes, the last one fastest."""
        for values in product(*self.settings.values()):
            yield dict(zip(self.settings, values, strict=True))


def _grid(value: Any) -> Any:
    """A grid as the file writes it, axis by axis."""
    if isinstance(value, Grid):
        return value
    if not isinstance(value, dict):
        raise ValueError("expected axes with their values, such as sparsity: [0.8, 0.9]")
    known = (ACCELERATOR, ARCH, *SETTING_AXES)
    for axis, values in value.items():
        if axis not in known:
            raise ValueError(f"axis {axis!r} is unknown; the known ones are {', '.join(known)}")
        if values in ([], {}, None):
            raise ValueError(f"axis {axis!r} has no values; expected at least one")
    given: dict[str, Any] = {
        "settings": {
            axis: _listed(values) for axis, values in value.items() if axis in SETTING_AXES
        }
    }
    if ACCELERATOR in value:
        given["accelerators"] = _listed(value[ACCELERATOR])
    if ARCH in value:
        given["arch"] = _changes(value[ARCH])
    return given


def _changes(value: Any) -> list[Changes]:
    """All combinations of paths with lists of values, or a list of changes as they are."""
    if isinstance(value, list):
        if not all(isinstance(each, dict) for each in value):
            raise ValueError(
                "arch holds a value without a path; expected DRAM.read_bandwidth: [16, 32], or a"
                " list of such changes"
            )
        return [change for each in value for change in _changes(each)]
    if not isinstance(value, dict):
        raise ValueError("arch is no mapping; expected DRAM.read_bandwidth: [16, 32]")
    axes = {str(path): _listed(values) for path, values in value.items()}
    _check_number(prod(map(len, axes.values())))
    return [tuple(zip(axes, values, strict=True)) for values in product(*axes.values())]


class Sweep(BaseModel):
    """A sweep. Its points are those of all its grids, each once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)] = "sweep"
    """Results go to ``runs/<name>``."""
    experiment: dict[str, Any] = {}
    """What all points share: an experiment as ``crisp-loop eval`` takes it, without designs."""
    grid: tuple[Annotated[Grid, BeforeValidator(_grid)], ...] = (Grid(),)
    """One grid, or a list of them; a list of grids of single values is a list of points."""
    mappings: Literal["search", "keep"] = "search"
    """Where ``arch`` changes a design: ``search`` its best mapping anew, or ``keep`` the best one
    of the design as its file has it, and price that."""
    layers: bool = True
    """Whether each layer of each point is kept, beside the point's totals."""

    @field_validator("grid", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @field_validator("experiment")
    @classmethod
    def _designs_are_an_axis(cls, experiment: dict[str, Any]) -> dict[str, Any]:
        for key, axis in (("accelerators", ACCELERATOR), (ARCH, ARCH)):
            if key in experiment:
                raise ValueError(f"{key} is an axis of a sweep; name it in grid.{axis}")
        return experiment

    @property
    def arch_axes(self) -> tuple[str, ...]:
        """Paths of the design fields that any grid changes, in the file's order."""
        paths = [path for grid in self.grid for changes in grid.arch for path, _ in changes]
        return tuple(dict.fromkeys(paths))

    @property
    def setting_axes(self) -> tuple[str, ...]:
        """Setting axes of any grid, in the file's order."""
        return tuple(dict.fromkeys(axis for grid in self.grid for axis in grid.settings))


def load_sweep(path: Path) -> Sweep:
    """The sweep in the file ``path``.

    Raises:
        CrispLoopError: no such file, not YAML, an unknown key or axis, or a value of a wrong kind.
    """
    data = read_yaml(path, "sweep file")
    if not isinstance(data, dict):
        raise CrispLoopError(f"{path} holds no sweep; expected keys such as name and grid.")
    data.setdefault("name", path.stem)
    return validated(data, Sweep, path)


def read_designs(sweep: Sweep) -> dict[str, DesignFile]:
    """The arch file of each design that the sweep names.

    Raises:
        CrispLoopError: one that is unknown or unusable.
    """
    names = dict.fromkeys(name for grid in sweep.grid for name in grid.accelerators)
    files = {name: read_design(name) for name in names}
    for file in files.values():
        file.design()
    return files
