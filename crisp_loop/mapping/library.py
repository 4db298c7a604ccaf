"""The mappings that ship in ``mappings/``."""

from __future__ import annotations

from importlib.resources import files

from crisp_loop.accelerators import Accelerator
from crisp_loop.core.files import parse_yaml, sha256, validated
from crisp_loop.core.mappings import MappingFile


def fingerprint(accelerator: Accelerator) -> str:
    """Hash over every number of a design; a mapping tuned for other numbers is stale."""
    return sha256(accelerator.model_dump_json())[:16]


def shipped_mappings(accelerator: Accelerator) -> MappingFile | None:
    """The mappings that ship for exactly this design, or None."""
    source = files("crisp_loop.mappings") / f"{accelerator.name}.yaml"
    if not source.is_file():
        return None
    where = f"mappings/{accelerator.name}.yaml"
    loaded = validated(parse_yaml(source.read_text(encoding="utf-8"), where), MappingFile, where)
    return loaded if loaded.arch == fingerprint(accelerator) else None
