"""What one call of timeloop-model came to, wherever it ran, and what it said before."""

from __future__ import annotations

from dataclasses import dataclass

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.cost.stats import FILE_NAME, parse_stats
from crisp_loop.cost.store import ResultStore
from crisp_loop.tools.failures import explain

LOG_TAIL_BYTES = 64 * 1024
"""How much of the log's end tells a failure."""


class CallError(CrispLoopError):
    """Why a call brought no evaluation: a clause without its full stop."""


@dataclass(frozen=True)
class Outcome:
    """The end of one call."""

    status: int | None
    """Exit status, negative for a signal; None if it took longer than it may."""
    stats: str | None
    """The statistics file; None if there is none."""
    log: str
    """The end of what the tool printed, on both outputs."""

    def evaluation(self, spec: str, engine: str, version: str, timeout_s: float) -> Evaluation:
        """The evaluation that the statistics tell.

        Args:
            spec: Name of the spec, passed through.
            engine: Name of the engine, passed through.
            version: Its version, passed through.
            timeout_s: Seconds that the call was given.

        Raises:
            CallError: the call failed, or its statistics cannot be read.
        """
        if self.status is None:
            raise CallError(
                f"it did not finish within {timeout_s:g} s; hypergeometric densities take"
                " long, fixed_structured ones do not"
            )
        if self.status != 0:
            raise CallError(explain(self.log, self.status))
        if self.stats is None:
            raise CallError(f"it wrote no {FILE_NAME}, though it ended well")
        try:
            return parse_stats(self.stats, spec, engine, version)
        except CrispLoopError as error:  # foreign bytes, or half a file
            raise CallError(str(error).rstrip(".")) from None


def remembered(
    store: ResultStore | None, text: str, spec: str, engine: str, version: str
) -> Evaluation | None:
    """The evaluation of the spec ``text``, if the tool of this version was asked before."""
    stats = store.recall(version, text) if store else None
    if stats is None:
        return None
    try:
        return parse_stats(stats, spec, engine, version)
    except CrispLoopError:  # a damaged file; ask again
        return None
