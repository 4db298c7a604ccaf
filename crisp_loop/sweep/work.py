"""What a process is given, and what it gives back: some points, and their figures."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pyarrow as pa

from crisp_loop.accelerators import Accelerator, DesignFile
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.cost.analytic import Analytic
from crisp_loop.cost.engine import Engine, EngineOptions
from crisp_loop.mapping.run import MapRequest
from crisp_loop.sweep.mappings import Mappings
from crisp_loop.sweep.networks import Lowered, lowered
from crisp_loop.sweep.plan import DesignPoint, Setting, engine_for, engine_told
from crisp_loop.sweep.pricing import (
    Prepared,
    Prices,
    analytic_prices,
    engine_prices,
    prepare,
    shape_of,
)
from crisp_loop.sweep.tables import Batch, Tables

FAILED = "failed"
"""Where inputs and logs of failed calls are kept, among a sweep's results."""
_OF_THE_MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
)
"""Errors that say nothing of a point: the machine lacks something."""


@dataclass(frozen=True)
class Task:
    """Some points, with all that is needed to price them."""

    keys: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    """(setting, design) of each, by number here."""
    settings: tuple[Setting, ...]
    designs: tuple[DesignPoint, ...]
    files: Mapping[str, DesignFile]
    engines: Mapping[str, str]
    """Name of each engine that settings ask for, to what it was when the sweep began."""
    keep: bool
    """Whether changed designs keep the mappings of the design as its file has it."""
    layers: bool
    """Whether the figures of layers are wanted."""
    out: Path
    """The sweep's results."""
    timeout_s: float
    """Seconds that a call of a tool may take."""

    def some(self, chosen: slice) -> Task:
        """Some of the points."""
        return replace(self, keys=self.keys[chosen], pairs=self.pairs[chosen])


@dataclass(frozen=True, eq=False)
class Done:
    """The figures of a task's points, in its order."""

    points: pa.Table
    """Key and :data:`POINT_FIGURES`."""
    layers: pa.Table | None
    """:data:`LAYER_FIGURES`."""


@dataclass(frozen=True)
class Trouble:
    """Why there are none. It is data, as not every exception survives the way between processes."""

    reason: str
    of_the_machine: bool
    """Whether the machine is to blame, and no point."""


def work(task: Task) -> Done | Trouble:
    """Price the points of a task. A point that cannot be priced is a row that says why."""
    try:
        return _done(task)
    except Exception as error:  # a defect must not end a sweep of a million points
        told = (
            str(error) if isinstance(error, CrispLoopError) else f"{type(error).__name__}: {error}"
        )
        return Trouble(told, isinstance(error, _Unfit) or _is_of_the_machine(error))


def _is_of_the_machine(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            return True
        error = error.__cause__ or error.__context__
    return False


def _told(error: CrispLoopError) -> str:
    """Why a point fails. What the machine lacks is not the point's failure, so it goes on up."""
    if _is_of_the_machine(error):
        raise error
    return str(error)


class _Unfit(CrispLoopError):
    """This machine is not what the sweep began on."""


def _done(task: Task) -> Done:
    """All points priced, or told why not."""
    settings = {i: _lowered(task, i) for i in dict.fromkeys(i for i, _ in task.pairs)}
    designs = {j: _design(task, j) for j in dict.fromkeys(j for _, j in task.pairs)}
    engines = {name: _engine(task, name) for name in _engine_names(task)}
    shapes = {j: shape_of(made) for j, made in designs.items() if not isinstance(made, str)}
    refused: dict[str, str] = {}
    batches: dict[tuple[str, MapRequest, object], list[tuple[str, int, int]]] = {}
    for key, (i, j) in zip(task.keys, task.pairs, strict=True):
        experiment = task.settings[i].experiment
        reasons = [each for each in (settings[i], designs[j]) if isinstance(each, str)]
        if reasons:
            refused[key] = reasons[0]
        elif experiment is not None:
            # Designs of one shape share an analysis, unless each has mappings of its own.
            shared = engines[experiment.engine].name == Analytic.name
            shared &= task.keep or not task.designs[j].changes
            batch = (experiment.engine, experiment.mapping, shapes[j] if shared else j)
            batches.setdefault(batch, []).append((key, i, j))
    told = Tables(task.keys, task.layers)
    told.fail(refused)
    for (engine, request, _), points in batches.items():
        batch = Batch(
            designs={j: cast(Accelerator, designs[j]) for _, _, j in points},
            settings={i: cast(Lowered, settings[i]) for _, i, _ in points},
            points={(i, j): key for key, i, j in points},
        )
        told.add(batch, *_prices(task, batch, engines[engine], request))
    return Done(*told.in_order())


def _engine_names(task: Task) -> list[str]:
    """The engines that a task's settings ask for."""
    asked = (setting.experiment for setting in task.settings)
    return list(dict.fromkeys(experiment.engine for experiment in asked if experiment))


def _lowered(task: Task, i: int) -> Lowered | str:
    """A setting's GEMMs, or why it has none."""
    setting = task.settings[i]
    if setting.experiment is None:
        return setting.refusal
    try:
        return lowered(setting.experiment, setting.pruning, task.out)
    except CrispLoopError as error:
        return _told(error)


def _design(task: Task, j: int) -> Accelerator | str:
    """A design with its changes, or why there is none."""
    point = task.designs[j]
    try:
        return task.files[point.accelerator].design(dict(point.changes))
    except CrispLoopError as error:
        return _told(error)


def _engine(task: Task, name: str) -> Engine:
    """An engine, if it is here what it was where the sweep began."""
    engine = engine_for(name, EngineOptions(task.out / FAILED, task.timeout_s))
    if engine_told(engine) != task.engines[name]:
        raise _Unfit(
            f"engine {name} is {engine_told(engine)} here, and {task.engines[name]} where the sweep"
            " was started; install the same on all machines."
        )
    return engine


def _prices(
    task: Task, batch: Batch, engine: Engine, request: MapRequest
) -> tuple[Prepared, Prices]:
    """What a batch costs, by its engine."""
    first, settings = next(iter(batch.designs)), list(batch.settings.values())
    point, design = task.designs[first], batch.designs[first]
    analytic = engine.name == Analytic.name
    # The design whose mappings count.
    mapped = task.files[point.accelerator].design() if task.keep and point.changes else design
    if mapped is not design and analytic:
        told = (shape_of(design), point.accelerator, request)
        keys = tuple(task.settings[i].key for i in batch.settings)
        prepared = _remembered(
            (told, keys),
            lambda: prepare(design, Mappings(mapped, request), settings),
        )
    else:
        prepared = prepare(design, Mappings(mapped, request), settings)
    if analytic:
        return prepared, analytic_prices(prepared, list(batch.designs.values()))
    return prepared, engine_prices(prepared, engine)


_REMEMBERED = 8
_known: dict[object, Prepared] = {}
"""The last analyses of this process: the next task is often on other designs of their shape."""


def _remembered(key: object, make: Callable[[], Prepared]) -> Prepared:
    if key not in _known:
        while len(_known) >= _REMEMBERED:
            _known.pop(next(iter(_known)))
        _known[key] = make()
    return _known[key]
