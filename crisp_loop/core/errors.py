"""Errors that end in one sentence.

Every mistake a user can make is raised as a :class:`CrispLoopError`. The command line
prints its message alone and exits with code 2; no traceback reaches the user.
"""

from __future__ import annotations

from pathlib import Path


class CrispLoopError(Exception):
    """A user's mistake or a refused input, told in one sentence."""


class InputError(CrispLoopError):
    """A value in a file or option that cannot be used.

    Args:
        where: The file (or command-line option) that holds the value.
        field: Path of the field inside the file, as ``a.b.c``; empty for the file itself.
        value: The offending value.
        expected: What would be right, as the end of a sentence ("expected N:M with N <= M").
    """

    def __init__(self, where: Path | str, field: str, value: object, expected: str) -> None:
        self.where = str(where)
        self.field = field
        self.value = value
        self.expected = expected
        place = f"{self.where}: {field}" if field else self.where
        shown = repr(value)
        if len(shown) > 120:
            shown = shown[:117] + "..."
        super().__init__(f"{place}: {shown} cannot be used; {expected}.")


class UnsupportedError(CrispLoopError):
    """A construct that an engine does not model, refused by its name."""
