"""What a figure of the paper is: what it shows, what it claims, and how it is measured again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.scale import Scale

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Verdict = Literal["follows", "does not follow", "cannot be judged at this scale"]
FOLLOWS: Verdict = "follows"
DIFFERS: Verdict = "does not follow"
UNJUDGED: Verdict = "cannot be judged at this scale"


@dataclass(frozen=True)
class Claim:
    """One thing that the paper says, with its number if it gives one."""

    says: str
    """In the paper's words, or close to them."""
    where: str
    """Where it stands, as ``Sec. IV-B, par. 3`` or ``Fig. 4, caption``."""
    low: float | None = None
    """The least that agrees with the claim; None where it has no lower end."""
    high: float | None = None
    """The most that agrees with the claim; None where it has no upper end."""
    unit: str = ""
    """Of ``low``, ``high`` and what is measured: ``x``, ``%`` or ``points`` (of percent)."""
    slack: float = 0.0
    """By how much the number may be missed and still agree: how "roughly" and "~" are read here,
    one unit of the number's last digit."""

    def distance(self, value: float) -> float:
        """How far ``value`` is outside of what was claimed: negative below, 0 inside."""
        if self.low is not None and value < self.low:
            return value - self.low
        if self.high is not None and value > self.high:
            return value - self.high
        return 0.0


@dataclass(frozen=True)
class Outcome:
    """What was measured for one claim."""

    claim: Claim
    verdict: Verdict
    measured: tuple[float, ...] = ()
    """One value, or the least and the most of several; in the claim's unit. Empty if there is
    nothing to compare."""
    error: float | None = None
    """Standard error of a single ``measured``; None where nothing is random."""
    remark: str = ""
    """A sentence: of what the measured value is, and why the verdict is what it is."""

    @property
    def distance(self) -> float | None:
        """Of the measured value that is farthest from the claim; None without one to compare."""
        claimed = (self.claim.low, self.claim.high) != (None, None)
        if not self.measured or not claimed:
            return None
        return max((self.claim.distance(value) for value in self.measured), key=abs)


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper, and the functions that measure it again.

    ``draw`` and ``judge`` see nothing but the rows, which come back from a CSV file as often as
    from ``measure``: they may only rely on what a CSV file holds.
    """

    name: str
    """As on the command line: ``fig1``."""
    title: str
    """What is drawn, in a few words."""
    shows: str
    """What the paper's figure shows and what of it can be read there, in a sentence or two."""
    claims: tuple[Claim, ...]
    measure: Callable[[Scale, Path, Progress], pd.DataFrame]
    """The rows of ``figN.csv`` at a scale. May keep what it needs to go on after a kill under the
    directory that it is given (the one of ``--out``)."""
    draw: Callable[[pd.DataFrame], Figure]
    """Called inside ``matplotlib.rc_context(STYLE)``; the caller saves it."""
    judge: Callable[[pd.DataFrame], Sequence[Outcome]]
    """One outcome a claim, in the claims' order."""
    describe: Callable[[pd.DataFrame, Scale], str]
    """Markdown, without headings: how it was measured at this scale, what is not the paper's, and
    the figures as a table."""
    settings: Callable[[Scale], object]
    """Everything that decides the rows, as something JSON can hold: rows that other settings led
    to are measured again."""
