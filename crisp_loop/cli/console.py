"""Progress bars, messages and the one place where errors become a sentence and exit code 2."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from crisp_loop.core.errors import CrispLoopError, one_line

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

# What is printed holds names out of files, so nothing in it is markup or an emoji's code.
out = Console(markup=False, emoji=False)
err = Console(stderr=True, markup=False, emoji=False)


class Bars:
    """Draws a bar for each tracked piece of work, on standard error.

    Work inside work (epochs inside iterations) gets a bar of its own below the first.
    """

    def __init__(self) -> None:
        self._live: Progress | None = None

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        """Yield ``items`` behind a bar."""
        if total is None and hasattr(items, "__len__"):
            total = len(items)  # type: ignore[arg-type]
        outermost = self._live is None
        if self._live is None:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=err,
                transient=not err.is_terminal,
                disable=not err.is_terminal,
            )
            self._live.start()
        live = self._live
        task = live.add_task(what, total=total)
        try:
            for item in items:
                yield item
                live.advance(task)
        finally:
            if outermost:
                live.stop()
                self._live = None
            else:
                live.remove_task(task)

    def note(self, text: str) -> None:
        """Print one line above the bars."""
        console = self._live.console if self._live else err
        console.print(one_line(text), style="dim", highlight=False)


def fail(message: str) -> NoReturn:
    """Print one sentence and exit with code 2."""
    told = Text.assemble(("error:", "bold red"), " ", " ".join(one_line(message).split()))
    err.print(told, highlight=False, soft_wrap=True)
    raise typer.Exit(2)


def told_in_one_sentence(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command's errors end in one sentence."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except CrispLoopError as error:
            fail(str(error))
        except KeyboardInterrupt:
            err.print("interrupted; run the same command again to go on.", style="yellow")
            raise typer.Exit(130) from None

    return wrapper
