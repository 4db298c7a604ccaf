"""The designs of a run: those that ship or a user's files, with fields changed on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crisp_loop.accelerators import read_design
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import dump_yaml, write_text
from crisp_loop.specs.run import BASELINE

ArchChanges = Mapping[str, Any]
"""Field to value: ``SMEM.read_bandwidth`` of every design, ``dstc/SMEM.read_bandwidth`` of one."""


def with_baseline(accelerators: Sequence[str]) -> tuple[str, ...]:
    """The designs with the one that every ratio is relative to, first."""
    return tuple(dict.fromkeys((BASELINE, *accelerators)))


def changed_designs(
    accelerators: Sequence[str], changes: ArchChanges, out_dir: Path
) -> tuple[str, ...]:
    """Names or paths that stages can load: with changes, those of files written to ``out_dir``.

    Args:
        accelerators: Names of designs, or paths of arch files.
        changes: Which fields to set.
        out_dir: Where ``<design>.yaml`` goes.
    """
    if not changes:
        return tuple(accelerators)
    paths = []
    for name in accelerators:
        file = read_design(name)
        design = file.design().name
        path = out_dir / f"{design}.yaml"
        write_text(path, dump_yaml(file.changed(changes_of(design, changes)).data))
        paths.append(str(path))
    return tuple(paths)


def fitting_changes(changes: dict[str, Any], accelerators: Sequence[str]) -> dict[str, Any]:
    """``changes``, once every design took them.

    Raises:
        ValueError: a design that is not compared, a field that it lacks, or a value that it
            cannot have.
    """
    if not changes:
        return changes
    try:
        files = [read_design(name) for name in accelerators]
        designs = {file.design().name: file for file in files}
        for name, file in designs.items():
            file.design(changes_of(name, changes))
    except CrispLoopError as error:
        raise ValueError(str(error)) from None
    for path in changes:
        whose, slash, field = path.partition("/")
        if slash and whose not in designs:
            raise ValueError(
                f"{path} changes a design that is not compared; expected one of"
                f" {', '.join(designs)}, as {next(iter(designs))}/{field}"
            )
    return changes


def changes_of(design: str, changes: ArchChanges) -> dict[str, Any]:
    """Those for ``design``: what is said of every design, then what is said of it alone."""
    everywhere = {path: value for path, value in changes.items() if "/" not in path}
    own = {
        path.partition("/")[2]: value
        for path, value in changes.items()
        if path.partition("/")[0] == design and "/" in path
    }
    return everywhere | own
