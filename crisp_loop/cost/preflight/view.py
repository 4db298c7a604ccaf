"""A spec's parts as the checks see them: plain data with the path of each.

What has another form than expected is passed over here: engines refuse it by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from crisp_loop.core.spec import Spec

# As in Timeloop's include/model/topology.hpp: classes by a part of their name.
_STORAGE_CLASSES = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage")
_COMPUTE_CLASSES = ("mac", "compute")

# Timeloop reads these names in this order and takes the first that is present.
WIDTH = ("width", "memory_width", "data_storage_width")
WORD_BITS = ("word_bits", "word_width", "datawidth")
METADATA_WIDTH = ("metadata_storage_width", "metadata_width")


@dataclass(frozen=True)
class Component:
    """A storage level or the compute units."""

    name: str
    """Without its range."""
    path: str
    """Where it stands in the architecture section."""
    compute: bool
    kind: str
    """Its class."""
    instances: int
    """Over the whole chip, by the ranges of its name and of the nodes that hold it."""
    attributes: dict[str, Any]

    def attribute(self, names: Sequence[str]) -> tuple[str, Any]:
        """(path, value) of the first attribute of these names; the value is None without one."""
        for name in names:
            if name in self.attributes:
                return f"{self.path}.attributes.{name}", self.attributes[name]
        return f"{self.path}.attributes.{names[0]}", None

    def number(self, names: Sequence[str]) -> int | None:
        """The first attribute of these names, if it is a whole number."""
        value = self.attribute(names)[1]
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def mappings(data: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """(index, mapping) of the mappings in a list; nothing of anything else."""
    if isinstance(data, list):
        yield from ((index, item) for index, item in enumerate(data) if isinstance(item, dict))


def get(data: Any, key: str) -> Any:
    """The value of ``key`` if ``data`` is a mapping that has it."""
    return data.get(key) if isinstance(data, dict) else None


def components(spec: Spec) -> Iterator[Component]:
    """The levels of the architecture, outermost first, then the compute units."""
    yield from _components(spec.sections.get("architecture"), "architecture", 1)


def _components(tree: Any, path: str, instances: int) -> Iterator[Component]:
    for index, node in mappings(get(tree, "subtree")):
        here = f"{path}.subtree[{index}]"
        each = instances * _count(str(node.get("name", "")))
        for place, component in mappings(node.get("local")):
            kind = str(component.get("class", ""))
            compute = any(part in kind for part in _COMPUTE_CLASSES)
            if compute or any(part in kind for part in _STORAGE_CLASSES):
                name = str(component.get("name", ""))
                attributes = component.get("attributes")
                yield Component(
                    name=name.split("[")[0],
                    path=f"{here}.local[{place}]",
                    compute=compute,
                    kind=kind,
                    instances=each * _count(name),
                    attributes=attributes if isinstance(attributes, dict) else {},
                )
        yield from _components(node, here, each)


def _count(name: str) -> int:
    """Instances that a name like ``PE[0..63]`` stands for."""
    match = re.search(r"\[(\d{1,9})\.\.(\d{1,9})\]", name)
    return int(match[2]) - int(match[1]) + 1 if match else 1
