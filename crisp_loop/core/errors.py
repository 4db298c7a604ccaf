"""Errors that end in one sentence.

Every mistake a user can make is raised as a :class:`CrispLoopError`. The command line
prints its message alone and exits with code 2; no traceback reaches the user.
"""

from __future__ import annotations

import re
import reprlib
from pathlib import Path

LONGEST = 2000
"""Characters of a message; of a longer one the middle is left out."""


class CrispLoopError(Exception):
    """A user's mistake or a refused input, told in one sentence.

    The message is one line of printable text, whatever a file put into it: line breaks become
    spaces, and other control characters, which could speak to a terminal, are written as escapes.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(_one_line(sentence))


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
        if len(field) > 120:
            field = field[:117] + "..."
        place = f"{self.where}: {field}" if field else self.where
        super().__init__(f"{place}: {shown(value)} cannot be used; {expected}.")


class UnsupportedError(CrispLoopError):
    """A construct that an engine does not model, refused by its name."""


def shown(value: object) -> str:
    """``value`` as Python writes it, at most 120 characters of it.

    What is not shown is not looked at: a value may be gigabytes long, or hold itself.
    """
    text = _Short().repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 8
        self.maxstring = self.maxother = 200

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out numbers of thousands of digits.
        digits = int(x.bit_length() * 0.30103) + 1
        return repr(x) if digits <= 100 else f"a whole number of about {digits} digits"


def _one_line(text: str) -> str:
    text = re.sub(r"\s*[\n\r\t\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text[: 100 * LONGEST])
    if not text.isprintable():
        escaped = (char.encode("unicode_escape").decode("ascii") for char in text)
        pairs = zip(text, escaped, strict=True)
        text = "".join(char if char.isprintable() else other for char, other in pairs)
    if len(text) > LONGEST:
        half = LONGEST // 2 - 10
        text = f"{text[:half]} ... {text[-half:]}"
    return text
