"""What a sweep consists of: settings and designs by content, their pairs, and parts of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from crisp_loop import __version__
from crisp_loop.accelerators import DesignFile
from crisp_loop.accelerators.changes import changed, value_at
from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import file_hash, sha256
from crisp_loop.cost.analytic import Analytic
from crisp_loop.cost.engine import Engine, EngineOptions, find_engine
from crisp_loop.mapping.mappers import DEFAULT_MAPPER
from crisp_loop.pipeline.designs import changes_of
from crisp_loop.pipeline.experiment import DRAW, PRUNE, Experiment, experiment_of
from crisp_loop.prune.run import current_sources
from crisp_loop.render import templates_hash
from crisp_loop.sweep.dataset import column_type
from crisp_loop.sweep.file import PRUNE_AXES, Changes, Grid, Sweep, read_designs

DESIGNS = frozenset({"name", "accelerators", "arch"})
"""Keys of an experiment that decide nothing of a setting."""
TRAINED = frozenset({"data", "weights", "resize_head", "user_classes"})
DRAWN_PATTERN = frozenset({"nm", "block", "sparsity", "seed"})
"""What of pruning decides masks that are drawn; of :data:`TRAINED`, nothing does."""
TOGETHER = 4096
"""Points of a part that share their analysis."""
APART = 32
"""Points of a part where each may need a search or a tool of its own."""
SETTINGS = 64
"""Settings of a part: enough to share what designs make of them, few enough to remember it."""


@dataclass(frozen=True)
class Setting:
    """A network with its masks, and how it is to be priced: a point but for the design."""

    labels: Mapping[str, Any]
    """Axis to value, as the sweep file gives it."""
    experiment: Experiment | None
    """None where the values contradict each other."""
    refusal: str
    """Why they do, in one sentence; else empty."""
    key: str
    """Hash of all that decides it."""
    pruning: str
    """Hash of all that decides the pruned network; empty where masks are drawn or given."""


@dataclass(frozen=True)
class DesignPoint:
    """A design with some of its fields changed."""

    accelerator: str
    """Its name or file, as the sweep file gives it."""
    changes: Changes
    """Those that differ from what its file says."""
    labels: Mapping[str, Any]
    """Path of a field that the sweep changes anywhere, to its value here."""
    key: str
    """Hash of all that decides it."""


@dataclass(frozen=True)
class Part:
    """Some points of a sweep, which end up in one file."""

    number: int
    pairs: tuple[tuple[int, int], ...]
    """(setting, design) by number."""
    keys: tuple[str, ...]
    """Of the points: hashes of all that decides them."""
    name: str
    """Its file's, without an ending: the number in the sweep, and a hash of what it holds."""


@dataclass(frozen=True)
class Plan:
    """All of a sweep's points, without holding them."""

    sweep: Sweep
    files: Mapping[str, DesignFile]
    settings: tuple[Setting, ...]
    designs: tuple[DesignPoint, ...]
    grids: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """Settings and designs of each grid, by number."""
    engines: Mapping[str, str]
    """Name of each engine that the settings ask for, to what it is here, with its version."""

    @cached_property
    def points(self) -> int:
        """How many there are, each counted once."""
        return sum(len(pairs) for pairs in self._pairs())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all parts."""
        return tuple(part.name for part in self.parts())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that tell points apart."""
        return (*LABELS, *extra_axes(self.sweep), "accelerator", *self.sweep.arch_axes)

    @cached_property
    def types(self) -> dict[str, pa.DataType]:
        """The columns with their types, the same in every part."""
        labels = [setting.labels for setting in self.settings]
        fields = [design.labels for design in self.designs]
        found = {"accelerator": pa.string()}
        for name in self.columns:
            if name not in found:
                told = fields if name in self.sweep.arch_axes else labels
                found[name] = column_type(each.get(name) for each in told)
        return {name: found[name] for name in self.columns}

    def row(self, setting: int, design: int) -> dict[str, Any]:
        """What :attr:`columns` hold for a point."""
        chosen, on = self.settings[setting], self.designs[design]
        named = Path(on.accelerator).stem if "/" in on.accelerator else on.accelerator
        return {**chosen.labels, "accelerator": named, **on.labels}

    def parts(self) -> Iterator[Part]:
        """The points in parts, always the same ones."""
        for number, pairs in enumerate(self._pairs()):
            yield self._part(number, pairs)

    def _pairs(self) -> Iterator[tuple[tuple[int, int], ...]]:
        """The points of each part; those that an earlier grid has are left out."""
        taken: list[tuple[frozenset[int], frozenset[int]]] = []
        for settings, designs in self.grids:
            for pairs in self._blocks(settings, designs):
                fresh = pairs
                if taken:
                    fresh = tuple(
                        (s, d) for s, d in pairs if not any(s in a and d in b for a, b in taken)
                    )
                if fresh:
                    yield fresh
            taken.append((frozenset(settings), frozenset(designs)))

    def _part(self, number: int, pairs: tuple[tuple[int, int], ...]) -> Part:
        keys = tuple(self.key(*pair) for pair in pairs)
        holds = sha256("\n".join((str(self.sweep.layers), *self.columns, *keys)))
        return Part(number, pairs, keys, f"{number:06d}-{holds[:16]}")

    def key(self, setting: int, design: int) -> str:
        """Hash of all that decides a point."""
        on = self.designs[design]
        # The mapping of a design as its file has it is searched for either way.
        mappings = self.sweep.mappings if on.changes else ""
        return sha256(f"{self.settings[setting].key} {on.key} {mappings}")[:32]

    def _blocks(
        self, settings: tuple[int, ...], designs: tuple[int, ...]
    ) -> Iterator[tuple[tuple[int, int], ...]]:
        """Pairs that are best worked on together: few settings, on many designs."""
        for block in _runs(settings, self._alike, SETTINGS):
            size = self._size(block[0])
            for some in _runs(block, lambda _: 0, size):
                for on in _runs(designs, lambda _: 0, max(1, size // len(some))):
                    yield tuple((s, d) for s in some for d in on)

    def _alike(self, setting: int) -> tuple[str, str]:
        """Settings of a block have one pruned network, if any, and one engine."""
        chosen = self.settings[setting]
        return chosen.pruning, chosen.experiment.engine if chosen.experiment else ""

    def _size(self, setting: int) -> int:
        experiment = self.settings[setting].experiment
        if experiment is None:
            return TOGETHER
        shared = self.sweep.mappings == "keep" or not self.sweep.arch_axes
        shared &= self.engines[experiment.engine].startswith(f"{Analytic.name} ")
        return TOGETHER if shared else APART


def _runs(
    items: tuple[int, ...], alike: Callable[[int], object], size: int
) -> Iterator[tuple[int, ...]]:
    """Neighbours that are ``alike``, at most ``size`` at a time."""
    start = 0
    while start < len(items):
        kind, end = alike(items[start]), start + 1
        while end < len(items) and end - start < size and alike(items[end]) == kind:
            end += 1
        yield tuple(items[start:end])
        start = end


LABELS = (
    *("network", "masks", "data", "user_classes", "method", "nm", "block", "sparsity", "seed"),
    *("activation_density", "objective", "engine"),
)
"""Columns that every dataset has; further axes of a sweep follow them."""


def extra_axes(sweep: Sweep) -> tuple[str, ...]:
    """Setting axes of a sweep that :data:`LABELS` lacks."""
    return tuple(axis for axis in sweep.setting_axes if axis not in LABELS)


def plan_sweep(sweep: Sweep, where: Path | str = "sweep") -> Plan:
    """All points of a sweep, checked as far as they can be without running them.

    A value that no point can use is refused; a combination that contradicts itself, such as a
    sparsity below what its N:M pattern alone removes, is a point that fails.

    Args:
        sweep: What the file says.
        where: The file, for messages.

    Raises:
        CrispLoopError: a value that cannot be used, or an engine that is not here.
    """
    with _told_with(where, "grid.accelerator"):
        files = read_designs(sweep)
    maker = _Maker(sweep, where)
    settings: dict[str, int] = {}
    designs: dict[str, int] = {}
    chosen: list[Setting] = []
    points: list[DesignPoint] = []
    grids = []
    for at, grid in enumerate(sweep.grid):
        own = [maker.setting(choice) for choice in grid.choices()]
        place = f"grid.{at}" if len(sweep.grid) > 1 else "grid"
        _check_values(grid, own, place, where)
        with _told_with(where, f"{place}.arch"):
            _check_changes(grid, files)
        for setting in own:
            if setting.key not in settings:
                settings[setting.key] = len(chosen)
                chosen.append(setting)
        on = list(_design_points(grid, files, sweep.arch_axes))
        for design in on:
            if design.key not in designs:
                designs[design.key] = len(points)
                points.append(design)
        grids.append(
            (
                tuple(dict.fromkeys(settings[setting.key] for setting in own)),
                tuple(dict.fromkeys(designs[design.key] for design in on)),
            )
        )
    return Plan(sweep, files, tuple(chosen), tuple(points), tuple(grids), maker.versions)


@contextmanager
def _told_with(where: Path | str, field: str) -> Iterator[None]:
    """Name the sweep's file and field in refusals of what they name."""
    try:
        yield
    except CrispLoopError as error:
        raise CrispLoopError(f"{where}: {field}: {error}") from None


class _Maker:
    """Makes settings of one sweep."""

    def __init__(self, sweep: Sweep, where: Path | str) -> None:
        self.sweep = sweep
        self.where = where
        self.extra = extra_axes(sweep)
        self.versions: dict[str, str] = {}
        self._sources: dict[tuple[str, str, bool], str] = {}

    def setting(self, choice: Mapping[str, Any]) -> Setting:
        """The setting of one combination of axes."""
        pattern = {axis: value for axis, value in choice.items() if axis in PRUNE_AXES}
        rest = {axis: value for axis, value in choice.items() if axis not in PRUNE_AXES}
        overrides = {**rest, "prune": pattern} if pattern else rest
        try:
            experiment = experiment_of(self.sweep.experiment, overrides, self.where)
        except InputError as error:
            labels = {axis: _told(value) for axis, value in choice.items()}
            key = sha256(_as_json(["refused", self.sweep.experiment, overrides]))
            return Setting(labels, None, str(error), key, "")
        decided = self._decided(experiment)
        decided |= {"version": __version__, "templates": templates_hash()}
        decided["engine"] = self._engine(experiment.engine)
        pruning = self._pruning(experiment) if experiment.masks == PRUNE else ""
        decided["pruning"] = pruning
        return Setting(self._labels(experiment), experiment, "", sha256(_as_json(decided)), pruning)

    def _labels(self, experiment: Experiment) -> dict[str, Any]:
        """Axis to value, of all columns of the dataset."""
        return {
            axis: _told(getattr(experiment.prune if axis in PRUNE_AXES else experiment, axis))
            for axis in (*LABELS, *self.extra)
        }

    def _decided(self, experiment: Experiment) -> dict[str, Any]:
        """What of an experiment decides its figures."""
        left_out = {*DESIGNS, *TRAINED, "prune"}
        if experiment.mapper == DEFAULT_MAPPER:
            left_out.add("mapper_seconds")
        decided = experiment.model_dump(mode="json", exclude=left_out)
        if experiment.masks == DRAW:
            return decided | experiment.prune.model_dump(mode="json", include=set(DRAWN_PATTERN))
        if experiment.masks != PRUNE:
            with _told_with(self.where, "masks"):
                decided["masks"] = file_hash(Path(experiment.masks), "mask file")
        return decided

    def _pruning(self, experiment: Experiment) -> str:
        sources = (experiment.data, experiment.weights, experiment.resize_head)
        if sources not in self._sources:
            weights = Path(experiment.weights).expanduser() if experiment.weights else None
            found = current_sources(experiment.data, weights, experiment.resize_head)
            self._sources[sources] = f"{found}"
        decided = (
            experiment.network, experiment.data, experiment.user_classes,
            experiment.prune.model_dump(mode="json"), self._sources[sources], __version__,
        )  # fmt: skip
        return sha256(_as_json(decided))[:32]

    def _engine(self, name: str) -> str:
        if name not in self.versions:
            engine = find_engine(name)
            self.versions[name] = engine_told(engine)
        return self.versions[name]


def engine_told(engine: Engine) -> str:
    """An engine by name and version."""
    return f"{engine.name} {engine.version()}"


def engine_for(name: str, options: EngineOptions) -> Engine:
    """The engine called ``name``, for a process that is one of many.

    Raises:
        CrispLoopError: it cannot be used here.
    """
    engine = find_engine(name, options)
    return replace(engine, workers=1) if hasattr(engine, "workers") else engine  # type: ignore[type-var]


def _check_values(grid: Grid, settings: list[Setting], place: str, where: Path | str) -> None:
    """Every value is of use in some combination."""
    choices = list(islice(grid.choices(), len(settings)))
    for axis, values in grid.settings.items():
        useful = {
            _as_json(choice[axis])
            for choice, setting in zip(choices, settings, strict=True)
            if setting.experiment
        }
        for value in values:
            if _as_json(value) not in useful:
                refusal = next(
                    setting.refusal
                    for choice, setting in zip(choices, settings, strict=True)
                    if _as_json(choice[axis]) == _as_json(value)
                )
                raise CrispLoopError(f"{refusal.rstrip('.')} ({place}.{axis}).")
    if not grid.settings and settings[0].refusal:
        raise CrispLoopError(settings[0].refusal)


def _check_changes(grid: Grid, files: Mapping[str, DesignFile]) -> None:
    """Every change by itself makes a design; what they make together shows when it is priced."""
    names = {file.design().name for file in files.values()}
    alone = dict.fromkeys(
        (path, _as_json(value)) for changes in grid.arch for path, value in changes
    )
    for path, text in alone:
        whose, slash, _ = path.partition("/")
        if slash and whose not in names:
            raise CrispLoopError(
                f"{path} changes a design that the sweep lacks; expected {', '.join(names)}."
            )
        # A change may need another one beside it.
        by_itself = all(len(changes) == 1 for changes in grid.arch if path in dict(changes))
        for name in dict.fromkeys(grid.accelerators):
            file = files[name]
            change = changes_of(file.data["name"], {path: json.loads(text)})
            if by_itself:
                file.design(change)
            else:
                changed(file.data, change, file.where)


def _design_points(
    grid: Grid, files: Mapping[str, DesignFile], axes: tuple[str, ...]
) -> Iterator[DesignPoint]:
    told = ("title", "about")
    for name in grid.accelerators:
        data = files[name].data
        content = sha256(_as_json({key: data[key] for key in data if key not in told}))
        own = changes_of(data["name"], {path: path for path in axes})
        stated = {axis: value_at(data, field) for field, axis in own.items()}
        for changes in grid.arch:
            fields = changes_of(data["name"], dict(changes))
            real = tuple(
                (path, value)
                for path, value in sorted(fields.items())
                if value_at(data, path) != value
            )
            asked = {axis: fields[field] for field, axis in own.items() if field in fields}
            labels = {axis: _told(value) for axis, value in (stated | asked).items()}
            yield DesignPoint(name, real, labels, sha256(f"{content} {_as_json(real)}"))


def _told(value: Any) -> Any:
    """A value as a column holds it."""
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, list | tuple):
        return ",".join(str(each) for each in value)
    return _as_json(value) if isinstance(value, dict) else str(value)


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str, separators=(",", ":"))
