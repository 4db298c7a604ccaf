"""A Sparseloop v0.3 spec: all sections of one (accelerator, GEMM, mapping)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import is_directory, is_file, parse_yaml, read_text
from crisp_loop.core.gathers import GATHER_FILE, Gather, read_gather
from crisp_loop.core.safe_yaml import LONGEST_TEXT

REQUIRED = ("architecture", "problem", "mapping", "ERT")
OPTIONAL = ("sparse_optimizations", "ART", "compound_components")

_NEXT_SECTION = re.compile(r"\n(?=[A-Za-z_]+:)")
_FIRST_SECTION = re.compile(r"(?: *(?:#.*)?\n)*[A-Za-z_]+:")
_TOGETHER = re.compile(r"\n(?:---|\.\.\.|%)|[&\r\x85\u2028\u2029]|<<")
"""What may make sections more than one after the other: documents, anchors, breaks that are no
newline, merge keys."""
_SHORT = 2**16
"""Characters of a spec that is read by section; some eight times those of a large one, and too few
for any part of it to matter to the limits on YAML."""


@dataclass(frozen=True)
class Spec:
    """The parsed sections of one spec, and where they came from."""

    source: str
    """The file or directory, for messages."""
    sections: dict[str, Any]
    """Section name to plain data, with the names of :data:`REQUIRED` and :data:`OPTIONAL`."""
    files: tuple[Path, ...] = ()
    """The files the sections were read from; empty for a spec made in memory."""
    gathers: tuple[Gather, ...] = ()
    """Which blocks of an input are really read. Sparseloop's sections cannot say that, so without
    them an engine counts what each block-row reads as its own."""
    homes: dict[str, Path] = field(default_factory=dict)
    """Section name to its file, for messages."""

    def where(self, section: str) -> str:
        """What to call the place of ``section``: its file where it has one."""
        return str(self.homes.get(section, self.source))


def load_spec(path: Path) -> Spec:
    """Read a spec: one YAML with all sections, or a directory of section files.

    The directory may hold a gather beside them, which is no section; see
    :mod:`crisp_loop.core.gathers`.

    Raises:
        CrispLoopError: a missing or repeated section, an unknown one, unreadable YAML.
    """
    if not is_file(path) and not is_directory(path):
        raise CrispLoopError(f"{path}: no such spec; expected a YAML file or a directory of them.")
    files = tuple(sorted(path.glob("*.yaml"))) if is_directory(path) else (path,)
    if not files:
        raise CrispLoopError(f"{path} holds no .yaml files; expected the sections of a spec.")
    sections: dict[str, Any] = {}
    homes: dict[str, Path] = {}
    for file in files:
        data = _parse_by_section(read_text(file, "spec", LONGEST_TEXT), file)
        if not isinstance(data, dict):
            raise CrispLoopError(
                f"{file} holds no sections; expected a mapping with {', '.join(REQUIRED)}."
            )
        for name, section in data.items():
            if name in sections:
                raise CrispLoopError(f"{file}: section {name!r} was already given by another file.")
            if name not in REQUIRED + OPTIONAL:
                known = ", ".join(REQUIRED + OPTIONAL)
                raise CrispLoopError(f"{file}: unknown section {name!r}; the known ones: {known}.")
            sections[name] = section
            homes[name] = file
    missing = [name for name in REQUIRED if name not in sections]
    if missing:
        raise CrispLoopError(f"{path} lacks the section {missing[0]!r}; a spec needs it.")
    gather = path / GATHER_FILE
    gathers = (read_gather(gather),) if is_directory(path) and is_file(gather) else ()
    return Spec(str(path), sections, files, gathers, homes)


def _parse_by_section(text: str, file: Path) -> Any:
    """What :func:`parse_yaml` says of a spec's file.

    The specs of one design share most sections word by word, so a section's text is parsed once
    and remembered. Where sections do not stand alone (documents, aliases, errors), the text is
    parsed as a whole, and so is any text that could come near a limit.
    """
    sections: dict[str, Any] = {}
    alone = not _TOGETHER.search(f"\n{text}") and _FIRST_SECTION.match(text)
    if len(text) > _SHORT or not alone:
        return parse_yaml(text, file)
    *others, last = _NEXT_SECTION.split(text)
    try:
        for part in (*(f"{other}\n" for other in others), last):
            # A copy, so that nobody shares data that another one may change.
            found = _copied(_remembered(part))
            if found and (not isinstance(found, dict) or found.keys() & sections.keys()):
                return parse_yaml(text, file)
            sections |= found or {}
    except (CrispLoopError, ValueError):
        return parse_yaml(text, file)
    return sections or parse_yaml(text, file)


@lru_cache(maxsize=256)
def _remembered(text: str) -> Any:
    return parse_yaml(text, "")


def _copied(data: Any) -> Any:
    """A copy of plain data; :func:`copy.deepcopy` takes ten times as long."""
    if isinstance(data, dict):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(each) for each in data] if isinstance(data, list) else data
