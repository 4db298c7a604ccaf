"""Names out of files: what may be one, and what it is called on disk.

A name with a line break, a control character or half a surrogate pair breaks terminals, tables and
encoders; one with ``..`` or a separator would leave the directory that it is to name something in.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated

from pydantic import AfterValidator, Field

LONGEST = 300
"""Characters of a name."""


def _printable(text: str) -> str:
    if len(text) > LONGEST:
        raise ValueError(f"expected at most {LONGEST} characters")
    if not text.isprintable():
        raise ValueError("expected printable characters, no line breaks or other controls")
    return text


def _inside(text: str) -> str:
    for path in (PurePosixPath(text), PureWindowsPath(text)):
        if path.is_absolute() or path.drive or path.root or ".." in path.parts:
            raise ValueError("expected a path that stays in the file's directory")
    return text


Label = Annotated[str, AfterValidator(_printable)]
"""One line of text of any letters; may be empty."""
Name = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
"""What something is called: one line of text of any letters."""
InnerPath = Annotated[Name, AfterValidator(_inside)]
"""A relative path that leads down, on every system."""


def file_name(name: str) -> str:
    """``name`` as one component of a path: no separators, no leading dots, not too long."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:120] or "layer"
