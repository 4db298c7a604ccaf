"""The embedded engine: Sparseloop's model in process, nothing to install."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import chain

from crisp_loop import __version__
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.progress import Progress
from crisp_loop.core.spec import Spec

_AT_ONCE = 1000
"""Specs that are looked through for ones that are alike; their figures wait in memory."""


@dataclass(frozen=True)
class Analytic:
    """Adapter of :func:`crisp_loop.sparseloop.evaluate_specs`."""

    name: str = "analytic"
    exact: bool = False
    """Count what gathered inputs really are, beyond Sparseloop's upper bound."""

    def version(self) -> str:
        """The version of this package, which the model is a part of."""
        return __version__

    def unavailable(self) -> str | None:
        """None, except in an installation that lost the model."""
        try:
            found = find_spec("crisp_loop.sparseloop.model") is not None
        except ImportError:
            found = False
        return None if found else "crisp_loop.sparseloop.model is missing; install crisp-loop again"

    def evaluate(self, specs: Sequence[Spec], progress: Progress) -> Iterator[Evaluation]:
        """Yield the evaluation of each spec, in order."""
        # Here, so that a run of the native tool does not load the model.
        from crisp_loop.sparseloop import evaluate_specs

        seen = [spec if self.exact else replace(spec, gathers=()) for spec in specs]
        parts = (seen[start : start + _AT_ONCE] for start in range(0, len(seen), _AT_ONCE))
        said = chain.from_iterable(evaluate_specs(part) for part in parts)
        for evaluation in progress.track(said, "analytic", total=len(specs)):
            yield replace(evaluation, engine=self.name)
