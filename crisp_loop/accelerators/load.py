"""Finding and reading accelerators: those that ship, or a user's own file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from crisp_loop.accelerators.changes import changed
from crisp_loop.accelerators.pricing import priced
from crisp_loop.accelerators.schema import Accelerator
from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import parse_yaml, read_yaml, validated


def load_accelerator(name: str, changes: Mapping[str, Any] | None = None) -> Accelerator:
    """The shipped accelerator ``name``, or the one in the file ``name`` (ending in .yaml).

    Args:
        name: Name or path.
        changes: Fields to set on top, by path, as ``{"SMEM.read_bandwidth": 42}``
            (:func:`crisp_loop.accelerators.changes.changed`); what follows from them, such as
            energies, follows from the new values.

    Raises:
        CrispLoopError: an unknown name (the known ones are listed) or an unusable file.
    """
    return read_design(name).design(changes)


@dataclass(frozen=True)
class DesignFile:
    """A design as its arch file says it, to be changed and made many times."""

    where: str
    """The file, for messages."""
    data: Any
    """The file's fields, those of the design that it is ``like`` and its ``set`` included."""

    def design(self, changes: Mapping[str, Any] | None = None) -> Accelerator:
        """The design, with the fields at the paths of ``changes`` set to their values.

        Raises:
            CrispLoopError: a field that is missing, unknown or cannot hold its value.
        """
        data = self.changed(changes).data if changes else self.data
        return priced(validated(data, Accelerator, self.where), self.where)

    def changed(self, changes: Mapping[str, Any]) -> DesignFile:
        """The file with the fields at the paths of ``changes`` set to their values.

        Raises:
            InputError: a path that leads nowhere.
        """
        return DesignFile(self.where, changed(self.data, changes, self.where))


def read_design(name: str) -> DesignFile:
    """The arch file of the shipped design ``name``, or the file ``name`` (ending in .yaml).

    Raises:
        CrispLoopError: an unknown name (the known ones are listed) or an unreadable file.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        return DesignFile(str(path), _completed(read_yaml(path, "accelerator file"), path))
    if name not in available():
        raise CrispLoopError(
            f"accelerator: {name!r} is unknown; expected one of {', '.join(available())},"
            " or the path of an arch .yaml file."
        )
    where = f"arch/{name}.yaml"
    return DesignFile(where, _completed(_shipped(name), where))


def load_accelerators(names: Sequence[str]) -> list[Accelerator]:
    """Several designs that are to stand side by side.

    Raises:
        CrispLoopError: as :func:`load_accelerator`, or two designs have one name.
    """
    designs = [load_accelerator(name) for name in names]
    called = [design.name for design in designs]
    for name in called:
        if called.count(name) > 1:
            raise InputError(
                "accelerator", "name", name, "two designs are called so; give each arch file a name"
            )
    return designs


def available() -> tuple[str, ...]:
    """Names of the accelerators that ship, the dense baseline first."""
    names = sorted(
        item.name.removesuffix(".yaml")
        for item in files("crisp_loop.arch").iterdir()
        if item.name.endswith(".yaml")
    )
    order = ("dense", "nvidia-stc", "dstc", "crisp-stc")
    return tuple(sorted(names, key=lambda name: order.index(name) if name in order else len(order)))


def _shipped(name: str) -> Any:
    source = files("crisp_loop.arch") / f"{name}.yaml"
    return parse_yaml(source.read_text(encoding="utf-8"), f"arch/{name}.yaml")


def _completed(data: Any, where: Path | str) -> Any:
    """``data`` over the fields of the shipped design that it is ``like``, then with its ``set``."""
    if not isinstance(data, dict):
        return data
    own = dict(data)
    if "like" in own:
        base = own.pop("like")
        if base not in available():
            raise InputError(where, "like", base, f"expected one of {', '.join(available())}")
        own = _completed(_shipped(base), base) | own
    changes = own.pop("set", {})
    if not isinstance(changes, dict):
        raise InputError(where, "set", changes, "expected paths with values, as DRAM.width: 128")
    return changed(own, {str(path): value for path, value in changes.items()}, where)
