"""The mappings that ship in ``mappings/``."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

from crisp_loop.accelerators import Accelerator
from crisp_loop.core.files import is_file, parse_yaml, sha256, validated
from crisp_loop.core.mappings import MappingFile, read_mappings, write_mappings


def fingerprint(accelerator: Accelerator) -> str:
    """Hash over every number of a design; a mapping tuned for other numbers is stale.

    Which weights a mode accepts is no part of it: mappings are kept by mode. Nor is where an energy
    comes from, as long as it is the same.
    """
    told = {"parts", "actions", "area"}
    data = accelerator.model_dump(
        mode="json",
        exclude={
            "title": True,
            "about": True,
            "compute": told,
            "levels": {"__all__": told | {"banking", "dram_type"}},
            "modes": {"__all__": {"accepts"}},
        },
    )
    # The shipped mappings know the hash of each part with its energies last.
    for part in (*data["levels"], data["compute"]):
        part["energy"] = part.pop("energy")
    return sha256(json.dumps(data, separators=(",", ":")))[:16]


def shipped_mappings(accelerator: Accelerator) -> MappingFile | None:
    """The mappings that ship for exactly this design, or None."""
    loaded = _shipped(accelerator.name)
    return loaded if loaded and loaded.arch == fingerprint(accelerator) else None


@cache
def _shipped(name: str) -> MappingFile | None:
    source = files("crisp_loop.mappings") / f"{name}.yaml"
    if not source.is_file():
        return None
    where = f"mappings/{name}.yaml"
    return validated(parse_yaml(source.read_text(encoding="utf-8"), where), MappingFile, where)


def merge_into(library: Path, found: MappingFile) -> MappingFile:
    """Add mappings to ``<library>/<accelerator>.yaml``; those for other numbers are dropped."""
    path = library / f"{found.accelerator}.yaml"
    known = read_mappings(path) if is_file(path) else None
    old = known.mappings if known and known.arch == found.arch else {}
    merged = found.model_copy(update={"mappings": dict(sorted((old | found.mappings).items()))})
    write_mappings(path, merged)
    return merged
