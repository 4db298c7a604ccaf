"""What an engine is, and which ones there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

ENGINES: dict[str, Callable[[Path | None], Engine]] = {
    "timeloop": lambda keep_dir: Timeloop(keep_dir=keep_dir),
    "analytic": lambda keep_dir: Analytic(),
    "docker": lambda keep_dir: Docker(keep_dir=keep_dir),
    "analytic-exact": lambda keep_dir: Analytic("analytic-exact", exact=True),
}
"""Name to maker, in the order in which ``auto`` tries them. The maker's argument is where a
failed call's input and log are kept (None: in a temporary directory that stays)."""


def find_engine(name: str, keep_dir: Path | None = None) -> Engine:
    """The engine called ``name``, ready to use.

    Args:
        name: A key of :data:`ENGINES`, or ``auto`` for the first of them that can be used.
        keep_dir: Where the engine keeps the input and log of a failed call.

    Raises:
        InputError: no such engine.
        CrispLoopError: it cannot be used here; the message says what to install.
    """
    if name != AUTO and name not in ENGINES:
        known = ", ".join((AUTO, *sorted(ENGINES)))
        raise InputError("engine", "", name, f"the known engines are {known}")
    reasons: list[str] = []
    for candidate in ENGINES if name == AUTO else (name,):
        engine = ENGINES[candidate](keep_dir)
        reason = engine.unavailable()
        if reason is None:
            return engine
        reasons.append(f"engine {candidate} cannot be used: {reason}")
    raise CrispLoopError("; ".join(reasons) + ".")
