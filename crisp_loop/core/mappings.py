"""Mapping files: the mappings of one accelerator, as they ship and as a run writes them."""

from __future__ import annotations

from pathlib import Path

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from crisp_loop.core.files import dump_yaml, read_yaml, validated, write_text
from crisp_loop.core.loops import LoopNest


class Provenance(BaseModel):
    """How a mapping was found, and what its finder says of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tool: str
    """``crisp_loop``, or ``timeloop-mapper``."""
    version: str
    """Its version; of a program without one, the start of its file's hash."""
    objective: str
    """What it minimises, such as ``cycles-energy``."""
    cycles: PositiveInt
    """With what Sparseloop cannot express (DSTC's lanes) included."""
    energy_uJ: PositiveFloat
    mapspace: NonNegativeInt = 0
    """Mappings that it was chosen from; 0 = not said."""
    priced: NonNegativeInt = 0
    """Those of them that were evaluated; bounds ruled the others out."""
    seconds: NonNegativeFloat = 0
    """Time that a search without an end was given; 0 for one that ends by itself."""


class Mapped(BaseModel):
    """One mapping."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loops: tuple[str, ...]
    """One line a slot (:meth:`LoopNest.compact`)."""
    found: Provenance | None = None
    """None for a mapping written by hand."""

    @field_validator("loops")
    @classmethod
    def _readable(cls, loops: tuple[str, ...]) -> tuple[str, ...]:
        LoopNest.parse(list(loops))
        return loops

    @property
    def nest(self) -> LoopNest:
        """The loops as data."""
        return LoopNest.parse(list(self.loops))


class MappingFile(BaseModel):
    """The mappings of one accelerator."""

    model_config = ConfigDict(extra="forbid")

    accelerator: str
    arch: str
    """Fingerprint of the design that the mappings were made for."""
    mappings: dict[str, Mapped]
    """By key of the problem."""

    def nest(self, key: str) -> LoopNest | None:
        """The mapping of a problem, if it is here."""
        mapped = self.mappings.get(key)
        return mapped.nest if mapped else None


def read_mappings(path: Path) -> MappingFile:
    """Read a mapping file; one sentence when it is missing or a line is unreadable."""
    return validated(read_yaml(path, "mapping file"), MappingFile, path)


def write_mappings(path: Path, mappings: MappingFile) -> None:
    """Write a mapping file atomically."""
    data = mappings.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    write_text(path, dump_yaml(data))
