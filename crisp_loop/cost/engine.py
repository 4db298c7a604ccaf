"""What an engine is, and which ones there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.progress import Progress
from crisp_loop.core.spec import Spec
from crisp_loop.cost.analytic import Analytic
from crisp_loop.cost.docker import Docker
from crisp_loop.cost.timeloop import Timeloop


class Engine(Protocol):
    """Something that prices specs."""

    @property
    def name(self) -> str:
        """The name to ask for it by."""
        ...

    def version(self) -> str:
        """What tells its answers apart from those of another build; it is recorded with them."""
        ...

    def unavailable(self) -> str | None:
        """Why it cannot be used on this machine and what to install; None when it can."""
        ...

    def evaluate(self, specs: Sequence[Spec], progress: Progress) -> Iterator[Evaluation]:
        """Yield one evaluation per spec, in order.

        Raises:
            CrispLoopError: the first spec, in order, that the engine refuses.
        """
        ...


AUTO = "auto"
EXACT = "analytic-exact"
TIMEOUT_S = 600.0
"""Seconds that one spec may take on an engine that calls a tool, unless told otherwise."""


@dataclass(frozen=True)
class EngineOptions:
    """What an engine that calls a tool is told; the others need nothing."""

    keep_dir: Path | None = None
    """Where a failed call's input and log are kept; None for a temporary directory that stays."""
    timeout_s: float = TIMEOUT_S
    """Seconds that one spec may take."""


def _timeloop(options: EngineOptions) -> Engine:
    return Timeloop(keep_dir=options.keep_dir, timeout_s=options.timeout_s)


def _docker(options: EngineOptions) -> Engine:
    return Docker(keep_dir=options.keep_dir, timeout_s=options.timeout_s)


ENGINES: dict[str, Callable[[EngineOptions], Engine]] = {
    "timeloop": _timeloop,
    "analytic": lambda options: Analytic(),
    "docker": _docker,
    EXACT: lambda options: Analytic(EXACT, exact=True),
}
"""Name to maker, in the order in which ``auto`` tries them; the second one can always be used."""


def find_engine(name: str, options: EngineOptions | None = None) -> Engine:
    """The engine called ``name``, ready to use.

    Args:
        name: A key of :data:`ENGINES`, or ``auto`` for the first of them that can be used.
        options: What the engine is told.

    Raises:
        InputError: no such engine.
        CrispLoopError: it cannot be used here; the message says what to install.
    """
    if name != AUTO and name not in ENGINES:
        known = ", ".join((AUTO, *sorted(ENGINES)))
        raise InputError("engine", "", name, f"the known engines are {known}")
    reasons: list[str] = []
    for candidate in ENGINES if name == AUTO else (name,):
        engine = ENGINES[candidate](options or EngineOptions())
        reason = engine.unavailable()
        if reason is None:
            return engine
        reasons.append(f"engine {candidate} cannot be used: {reason}")
    raise CrispLoopError("; ".join(reasons) + ".")
