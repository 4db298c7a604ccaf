"""What the tables do not reach."""

from __future__ import annotations


class UnpricedError(Exception):
    """The tables do not reach a primitive; whoever knows the file makes a sentence of it.

    Args:
        field: The attribute that is out of reach: ``depth``, ``technology`` and so on.
        value: What it is.
        expected: What the tables hold, as the end of a sentence.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        super().__init__(f"{field} {value!r}: {expected}")
