"""Run a sweep: hand its points to processes part by part, and keep what comes back."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import dump_yaml, read_text, sha256, write_text
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.cost.engine import TIMEOUT_S
from crisp_loop.sweep.claims import Claim
from crisp_loop.sweep.dataset import (
    FAILURE,
    LAYER_FIGURES,
    POINT,
    POINTS,
    Dataset,
    Known,
    in_order,
    labelled,
    sound_rows,
)
from crisp_loop.sweep.file import Sweep
from crisp_loop.sweep.plan import Part, Plan, plan_sweep
from crisp_loop.sweep.pools import DaskPool, LocalPool, Outcome, Pool
from crisp_loop.sweep.tables import failed
from crisp_loop.sweep.work import Done, Task, Trouble

DEATHS = 3
"""Processes that a point may cost before it is taken to be the reason."""
LOCK, CLAIMS, SWEEP_FILE = ".lock", ".claims", "sweep.yaml"
ENTRIES = 100
"""Looks at a directory that another sweep is entering, before it is taken to be that one's."""
POLL_S = 1.0
"""Seconds between two looks at the parts that another sweep is working on."""


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is run; none of it changes its results."""

    workers: int = 0
    """Processes; 0 for as many as there are cores."""
    scheduler: str = ""
    """A Dask scheduler's address or file, or ``local``; empty for processes without Dask."""
    retry: bool = False
    """Whether points that failed are tried again."""
    timeout_s: float = TIMEOUT_S
    """Seconds that a call of a tool may take."""


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep came to."""

    root: Path
    """Its results."""
    points: int
    known: int
    """Points that were finished before, here or in a sweep beside it."""
    priced: int
    """Points that were priced now."""
    failures: dict[str, int] = field(default_factory=dict)
    """Why points failed, and how many did, the most frequent first."""

    @property
    def failed(self) -> int:
        """Points that failed."""
        return sum(self.failures.values())


def run_sweep(
    sweep: Sweep,
    out: Path,
    options: SweepOptions = SweepOptions(),
    progress: Progress | None = None,
    where: Path | str = "sweep",
) -> SweepSummary:
    """Price all points of a sweep that are not priced yet.

    A run that is stopped, in whatever way, is gone on with by running it again; every point ends
    up in the results once, and is what it would have been without the stop. Points that a sweep
    beside this one has (in a directory of the same parent) are taken from there.

    Args:
        sweep: What to run.
        out: Its directory. ``points/`` and ``layers/`` are Parquet datasets.
        options: How to run it.
        progress: Who hears of it.
        where: The sweep's file, for messages.

    Raises:
        CrispLoopError: a value that no point can use, an engine or scheduler that is not there, a
            directory that another sweep is using, or a machine that lacks something (a full disk).
    """
    progress = progress or Quiet()
    plan = plan_sweep(sweep, where)
    # Absolute, since workers may stand elsewhere.
    data = Dataset(out.absolute())
    lock = _enter(plan, data)
    try:
        return _Run(plan, data, options, progress).run()
    finally:
        lock.release()


def sweep_state(sweep: Sweep, out: Path, where: Path | str = "sweep") -> SweepSummary:
    """What :func:`run_sweep` would find: nothing is run, and nothing written."""
    plan = plan_sweep(sweep, where)
    data = Dataset(out.absolute())
    others = Known.of(_elsewhere(data, plan))
    failures: Counter[str] = Counter()
    known = 0
    for part in plan.parts():
        found = data.read(part.name, sweep.layers)
        if found is None:
            known += others.count(part.keys)
        else:
            known += len(part.keys)
            failures.update(_failures(found[0]))
    return SweepSummary(data.root, plan.points, known, 0, dict(failures.most_common()))


def _enter(plan: Plan, data: Dataset) -> Claim:
    """Take possession of a directory, or join a run of the same sweep.

    Parts of an earlier form of the sweep are set aside, so that the results are this form's alone.
    """
    parts = sha256("\n".join(plan.names))
    told = dump_yaml({"sweep": plan.sweep.model_dump(mode="json"), "parts": parts})
    file = data.root / SWEEP_FILE
    for _ in range(ENTRIES):
        if lock := Claim.on(data.root / LOCK):
            try:
                data.tidy()
                data.set_aside(sorted(set(data.parts()) - set(plan.names)))
                write_text(file, told)
            except BaseException:
                lock.release()
                raise
            lock.share()
        else:
            lock = Claim.on(data.root / LOCK, shared=True)
        if lock:
            if read_text(file) == told:
                return lock
            lock.release()
            break
        time.sleep(POLL_S / 10)  # another sweep is entering
    raise CrispLoopError(
        f"{data.root} is being written by another sweep; wait for it, or name another directory"
        " with --out."
    )


def _elsewhere(data: Dataset, plan: Plan) -> Iterator[tuple[Dataset, str]]:
    """Parts that are none of the plan's: of an earlier form of it, and of other sweeps."""
    for name in sorted(set(data.parts()) - set(plan.names)):
        yield data, name
    folders = sorted(data.root.parent.glob(f"*/{POINTS}"))
    beside = [Dataset(folder.parent) for folder in folders if folder.parent != data.root]
    for place in (data.former, *beside):
        for name in place.parts():
            yield place, name


def _failures(points: pa.Table) -> list[str]:
    """Why points of a part failed."""
    return points[FAILURE].drop_null().to_pylist()


@dataclass
class _Open:
    """A part that is being worked on."""

    part: Part
    claim: Claim
    points: list[pa.Table] = field(default_factory=list)
    layers: list[pa.Table] = field(default_factory=list)
    tasks: int = 0
    """How many of its tasks are not done."""

    def add(self, points: pa.Table, layers: pa.Table | None) -> None:
        """Keep figures of some of its points."""
        self.points.append(points)
        if layers is not None:
            self.layers.append(layers)

    def take(self, known: Iterable[tuple[pa.Table, pa.Table | None]]) -> None:
        """Keep figures that were known, each point's once."""
        for points, layers in known:
            here = [key for table in self.points for key in table[POINT].to_pylist()]
            fresh = points.filter(~pc.field(POINT).isin(pa.array(here, pa.string())))
            if layers is not None:
                layers = layers.filter(pc.field(POINT).isin(fresh[POINT].combine_chunks()))
            self.add(fresh, layers)


@dataclass(frozen=True)
class _Attempt:
    """A task, and how many processes have died of it so far."""

    opened: _Open
    task: Task
    deaths: int = 0

    def halves(self) -> list[_Attempt]:
        """The points in two, to find which of them is to blame."""
        middle = len(self.task.keys) // 2
        return [
            replace(self, task=self.task.some(slice(None, middle))),
            replace(self, task=self.task.some(slice(middle, None))),
        ]


class _Run:
    """One run of a plan."""

    def __init__(
        self, plan: Plan, data: Dataset, options: SweepOptions, progress: Progress
    ) -> None:
        self.plan = plan
        self.data = data
        self.options = options
        self.progress = progress
        self.failures: Counter[str] = Counter()
        self.known = self.priced = 0
        self._waiting: deque[_Attempt] = deque()
        self._flying: dict[Future[Outcome], _Attempt] = {}
        self._open: list[_Open] = []
        self._claimed: list[Part] = []
        """Parts that another sweep was working on."""
        self._known: Known | None = None
        self._pool: Pool | None = None

    def run(self) -> SweepSummary:
        """Bring every part to its end."""
        total = len(self.plan.names)
        what = f"{self.plan.points:,} points in parts"
        try:
            for part in self.progress.track(self._finished(), what, total=total):
                self.failures.update(_failures(part))
        finally:
            for opened in self._open:
                opened.claim.release(remove=True)
            if self._pool is not None:
                self._pool.close()
        return SweepSummary(
            self.data.root, self.plan.points, self.known, self.plan.points - self.known,
            dict(self.failures.most_common()),
        )  # fmt: skip

    def _finished(self) -> Iterator[pa.Table]:
        """Yield the points of each part when it is finished."""
        for part in self.plan.parts():
            yield from self._offer(part)
        yield from self._drain()
        while self._claimed:
            # Another sweep works on these; should it end, they are taken over.
            time.sleep(POLL_S)
            again, self._claimed = self._claimed, []
            for part in again:
                yield from self._offer(part)
            yield from self._drain()

    def _offer(self, part: Part) -> Iterator[pa.Table]:
        """Begin with a part, as soon as there is room; it may be finished already."""
        points = self._read(part)
        if points is None:
            claim = Claim.on(self.data.root / CLAIMS / part.name)
            if claim is None:
                self._claimed.append(part)
                return
            opened = _Open(part, claim)
            self._open.append(opened)
            points = self._read(part)  # by whoever held the claim
            if points is None:
                yield from self._begin(opened)
                return
            self._close(opened)
        self.known += len(part.keys)
        yield points

    def _read(self, part: Part) -> pa.Table | None:
        """The points of a part that is finished, and is to stay as it is."""
        found = self.data.read(part.name, self.plan.sweep.layers)
        if found is None or (self.options.retry and _failures(found[0])):
            return None
        return found[0]

    def _begin(self, opened: _Open) -> Iterator[pa.Table]:
        """Take what is known of a part, and have the rest priced."""
        part, wanted = opened.part, self.plan.sweep.layers
        if self._known is None:
            self._known = Known.of(_elsewhere(self.data, self.plan))
        opened.take(self._known.rows(part.keys, wanted))
        if found := self.data.read(part.name, wanted):  # it holds points that failed
            opened.take([sound_rows(*found)])
        here = {key for table in opened.points for key in table[POINT].to_pylist()}
        self.known += len(here)
        missing = [at for at, key in enumerate(part.keys) if key not in here]
        if not missing:
            yield self._commit(opened)
            return
        opened.tasks = 1
        self._waiting.append(_Attempt(opened, self._task(part, missing)))
        while self._waiting:
            self._launch()
            if self._waiting:
                yield from self._landed()

    def _task(self, part: Part, missing: Sequence[int]) -> Task:
        """The task of pricing some points of a part."""
        plan = self.plan
        pairs = [part.pairs[at] for at in missing]
        settings = {s: i for i, s in enumerate(dict.fromkeys(s for s, _ in pairs))}
        designs = {d: j for j, d in enumerate(dict.fromkeys(d for _, d in pairs))}
        return Task(
            keys=tuple(part.keys[at] for at in missing),
            pairs=tuple((settings[s], designs[d]) for s, d in pairs),
            settings=tuple(plan.settings[s] for s in settings),
            designs=tuple(plan.designs[d] for d in designs),
            files=plan.files,
            engines=plan.engines,
            keep=plan.sweep.mappings == "keep",
            layers=plan.sweep.layers,
            out=self.data.root,
            timeout_s=self.options.timeout_s,
        )

    def _launch(self) -> None:
        """Hand over what there is room for."""
        if self._pool is None:
            self._pool = _pool(self.options)
        while self._waiting and self._pool.room():
            attempt = self._waiting.popleft()
            self._flying[self._pool.submit(attempt.task)] = attempt

    def _drain(self) -> Iterator[pa.Table]:
        """Wait for everything that was handed over."""
        while self._flying:
            yield from self._landed()
            self._launch()

    def _landed(self) -> Iterator[pa.Table]:
        """Wait until a task ends, and yield the parts that are finished by that."""
        for future in wait(self._flying, return_when=FIRST_COMPLETED).done:
            attempt = self._flying.pop(future)
            opened, outcome = attempt.opened, future.result()
            if isinstance(outcome, Done):
                opened.add(outcome.points, outcome.layers)
            elif (again := _again(attempt, outcome)) is not None:
                self._waiting.extend(again)
                opened.tasks += len(again)
            else:
                opened.add(failed({attempt.task.keys[0]: _blame(attempt, outcome)}), None)
            opened.tasks -= 1
            if not opened.tasks:
                yield self._commit(opened)

    def _commit(self, opened: _Open) -> pa.Table:
        """Write a part of which all is known."""
        part, plan = opened.part, self.plan
        places = {key: at for at, key in enumerate(part.keys)}
        figures = in_order(pa.concat_tables(opened.points), places)
        points = labelled([plan.row(*pair) for pair in part.pairs], plan.types, figures)
        layers = None
        if plan.sweep.layers:
            rows = pa.concat_tables([LAYER_FIGURES.empty_table(), *opened.layers])
            layers = in_order(rows, places)
        self.data.write(part.name, points, layers)
        self._close(opened)
        return points

    def _close(self, opened: _Open) -> None:
        opened.claim.release(remove=True)
        self._open.remove(opened)


def _again(attempt: _Attempt, outcome: Trouble | None) -> list[_Attempt] | None:
    """How to go on with a task that brought nothing; None where its one point is to blame.

    Raises:
        CrispLoopError: the machine is to blame.
    """
    if outcome is not None and outcome.of_the_machine:
        raise CrispLoopError(f"{outcome.reason.rstrip('.')}; make room, and run the sweep again.")
    died = outcome is None
    attempt = replace(attempt, deaths=attempt.deaths + died)
    if died and attempt.deaths < (DEATHS if len(attempt.task.keys) == 1 else DEATHS - 1):
        return [attempt]  # whoever killed it may have meant another
    return attempt.halves() if len(attempt.task.keys) > 1 else None


def _blame(attempt: _Attempt, outcome: Trouble | None) -> str:
    if outcome is not None:
        return outcome.reason
    return f"{DEATHS} processes that priced it were killed, perhaps for want of memory."


def _pool(options: SweepOptions) -> Pool:
    workers = options.workers or os.cpu_count() or 1
    return DaskPool(options.scheduler, workers) if options.scheduler else LocalPool(workers)
