"""Mapping files: the mappings of one accelerator, as they ship and as a run writes them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from crisp_loop.core.files import dump_yaml, read_yaml, validated, write_text
from crisp_loop.core.loops import LoopNest


class MappingFile(BaseModel):
    """The mappings of one accelerator."""

    model_config = ConfigDict(extra="forbid")

    accelerator: str
    arch: str
    """Fingerprint of the design that the mappings were made for."""
    provenance: str
    """How they were found."""
    mappings: dict[str, list[str]]
    """Key of the problem to one line a slot (:meth:`LoopNest.compact`)."""

    @field_validator("mappings")
    @classmethod
    def _readable(cls, mappings: dict[str, list[str]]) -> dict[str, list[str]]:
        for lines in mappings.values():
            LoopNest.parse(lines)
        return mappings

    def nest(self, key: str) -> LoopNest | None:
        """The mapping of a problem, if it is here."""
        lines = self.mappings.get(key)
        return LoopNest.parse(lines) if lines is not None else None


def read_mappings(path: Path) -> MappingFile:
    """Read a mapping file; one sentence when it is missing or a line is unreadable."""
    return validated(read_yaml(path, "mapping file"), MappingFile, path)


def write_mappings(path: Path, mappings: MappingFile) -> None:
    """Write a mapping file atomically."""
    write_text(path, dump_yaml(mappings.model_dump()))
