"""Typed access to plain YAML data, with errors that carry the path of the field."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from crisp_loop.core.errors import InputError, UnsupportedError, shown


@dataclass(slots=True)
class Field:
    """One value of a spec and where it stands."""

    where: str
    """The spec's file or directory."""
    path: str
    """Path inside it, as ``a.b[0].c``."""
    value: Any

    def error(self, expected: str) -> InputError:
        """The value cannot be used; ``expected`` ends the sentence."""
        return InputError(self.where, self.path, self.value, expected)

    def unsupported(self, hint: str) -> UnsupportedError:
        """The value means something, but not to this engine."""
        return UnsupportedError(
            f"{self.where}: {self.path}: {shown(self.value)} is not modelled by the analytic"
            f" engine; {hint}."
        )

    def entries(self, known: Collection[str] | None = None) -> dict[str, Field]:
        """The fields of a mapping; a key outside ``known`` is refused by name."""
        if not isinstance(self.value, dict):
            raise self.error("expected a mapping")
        fields = {
            str(key): Field(self.where, f"{self.path}.{key}", value)
            for key, value in self.value.items()
        }
        if known is not None:
            for key, field in fields.items():
                if key not in known:
                    raise field.unsupported(
                        f"the keys it knows here are {', '.join(sorted(known))}"
                    )
        return fields

    def items(self) -> list[Field]:
        """The items of a list."""
        if not isinstance(self.value, list):
            raise self.error("expected a list")
        return [
            Field(self.where, f"{self.path}[{index}]", value)
            for index, value in enumerate(self.value)
        ]

    def required(self, fields: dict[str, Field], key: str) -> Field:
        """``fields[key]``, or one sentence that it is missing."""
        if key not in fields:
            raise InputError(self.where, self.path, sorted(fields), f"{key!r} is missing")
        return fields[key]

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            raise self.error("expected text")
        return self.value

    def whole(self, least: int = 0) -> int:
        """A whole number that is ``least`` or more."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < least:
            raise self.error(f"expected a whole number, {least} or more")
        return self.value

    def number(self) -> float:
        """A finite number that is 0 or more."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error("expected a number")
        if not 0 <= value < float("inf"):
            raise self.error("expected a finite number, 0 or more")
        return float(value)

    def names(self) -> list[str]:
        """A list of strings."""
        return [item.text() for item in self.items()]
