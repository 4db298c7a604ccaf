"""How a stage says what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """A listener: the command line draws bars, a library caller hears nothing."""

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        """Yield ``items`` while showing how many of ``total`` are done."""
        ...

    def note(self, text: str) -> None:
        """Say one line."""
        ...


class Quiet:
    """The listener that says nothing."""

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        """Yield ``items``."""
        yield from items

    def note(self, text: str) -> None:
        """Say nothing."""
