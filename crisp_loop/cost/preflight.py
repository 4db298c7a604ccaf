"""What to check before any engine runs, because timeloop-model is silent about it.

Timeloop matches an energy table (ERT) to a component by the last part of its name, and a
component that no table names keeps a built-in default energy, without a word. The figures
would then be wrong, so it is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.spec import Spec

# As in Timeloop's include/model/topology.hpp: classes by a part of their name, and for each
# kind of access the first action that the table has.
_COMPUTE = ("mac_random", "mult_random", "mac", "mult", "compute")
_READ = ("random_read", "read")
_WRITE = ("random_fill", "random_write", "fill", "write")
_UPDATE = ("random_update", "random_write", "update", "write")
_STORAGE_CLASSES = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage")
_COMPUTE_CLASSES = ("mac", "compute")
_METADATA_READ = ("random_metadata_read", "metadata_read")


def check_energies(spec: Spec) -> tuple[str, ...]:
    """Warnings about ``spec``'s energies, a sentence each.

    Raises:
        CrispLoopError: a component's energies would come from no table.
    """
    tables = dict(_tables(spec.sections.get("ERT")))
    priced = ", ".join(sorted(tables)) or "nothing"
    warnings: list[str] = []
    compressed = set(_compressed_levels(spec.sections.get("sparse_optimizations")))
    for name, compute in _components(spec.sections.get("architecture")):
        if name not in tables:
            raise CrispLoopError(
                f"{spec.source}: ERT.tables prices {priced} but not {name};"
                " expected a table whose name ends in the component's name."
            )
        actions = tables[name]
        for needed in (_COMPUTE,) if compute else (_READ, _WRITE, _UPDATE):
            if not actions.intersection(needed):
                raise InputError(
                    spec.source,
                    f"ERT.tables.{name}.actions",
                    sorted(actions),
                    f"expected one of {', '.join(needed)}",
                )
        if name in compressed and not actions.intersection(_METADATA_READ):
            warnings.append(
                f"{name} holds metadata, but its energy table has no metadata_read:"
                " Timeloop charges 0 for it."
            )
    return tuple(warnings)


def _mappings(data: Any) -> Iterator[dict[str, Any]]:
    """The mappings in a list; nothing of anything else, which engines refuse by themselves."""
    if isinstance(data, list):
        yield from (item for item in data if isinstance(item, dict))


def _get(data: Any, key: str) -> Any:
    return data.get(key) if isinstance(data, dict) else None


def _components(tree: Any) -> Iterator[tuple[str, bool]]:
    """(name without its range, whether it computes) of the architecture's levels."""
    for node in _mappings(_get(tree, "subtree")):
        for component in _mappings(node.get("local")):
            kind = str(component.get("class", ""))
            compute = any(part in kind for part in _COMPUTE_CLASSES)
            if compute or any(part in kind for part in _STORAGE_CLASSES):
                yield str(component.get("name", "")).split("[")[0], compute
        yield from _components(node)


def _tables(ert: Any) -> Iterator[tuple[str, set[str]]]:
    """(component name, its actions) of each energy table."""
    for table in _mappings(_get(ert, "tables")):
        name = re.sub(r"\[[^\]]*\]", "", str(table.get("name", "")))
        actions = {str(action.get("name")) for action in _mappings(table.get("actions"))}
        yield name.rsplit(".", 1)[-1], actions


def _compressed_levels(sparse: Any) -> Iterator[str]:
    for target in _mappings(_get(sparse, "targets")):
        if target.get("representation_format"):
            yield str(target.get("name", ""))
