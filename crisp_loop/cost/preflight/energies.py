"""Whether every component is priced by a table of its own, about which timeloop-model is silent.

Timeloop matches an energy table (ERT) to a component by the last part of its name, and a
component that no table names keeps a built-in default energy, without a word. The figures
would then be wrong, so it is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.spec import Spec
from crisp_loop.cost.preflight.view import components, get, mappings

# As in Timeloop's include/model/topology.hpp: for each kind of access the first action that the
# table has.
_COMPUTE = ("mac_random", "mult_random", "mac", "mult", "compute")
_READ = ("random_read", "read")
_WRITE = ("random_fill", "random_write", "fill", "write")
_UPDATE = ("random_update", "random_write", "update", "write")
_METADATA_READ = ("random_metadata_read", "metadata_read")


def check_energies(spec: Spec) -> tuple[str, ...]:
    """Warnings about ``spec``'s energies, a sentence each.

    Raises:
        CrispLoopError: a component's energies would come from no table.
    """
    tables = dict(_tables(spec))
    priced = ", ".join(sorted(tables)) or "nothing"
    warnings: list[str] = []
    compressed = set(_compressed_levels(spec))
    for part in components(spec):
        if part.name not in tables:
            raise CrispLoopError(
                f"{spec.where('ERT')}: ERT.tables prices {priced} but not {part.name};"
                " expected a table whose name ends in the component's name."
            )
        actions = tables[part.name]
        for needed in (_COMPUTE,) if part.compute else (_READ, _WRITE, _UPDATE):
            if not actions.intersection(needed):
                raise InputError(
                    spec.where("ERT"),
                    f"ERT.tables.{part.name}.actions",
                    sorted(actions),
                    f"expected one of {', '.join(needed)}",
                )
        if part.name in compressed and not actions.intersection(_METADATA_READ):
            warnings.append(
                f"{part.name} holds metadata, but its energy table has no metadata_read:"
                " Timeloop charges 0 for it."
            )
    return tuple(warnings)


def _tables(spec: Spec) -> Iterator[tuple[str, set[str]]]:
    """(component name, its actions) of each energy table."""
    for _, table in mappings(get(spec.sections.get("ERT"), "tables")):
        name = re.sub(r"\[[^\]]*\]", "", str(table.get("name", "")))
        actions = {str(action.get("name")) for _, action in mappings(table.get("actions"))}
        yield name.rsplit(".", 1)[-1], actions


def _compressed_levels(spec: Spec) -> Iterator[str]:
    for _, target in mappings(get(spec.sections.get("sparse_optimizations"), "targets")):
        if target.get("representation_format"):
            yield str(target.get("name", ""))
