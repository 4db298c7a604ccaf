"""Write the tables of ``arch/energy`` with the tools of this machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crisp_loop import __version__
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import is_file, read_text, write_text
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.energy import cacti, plan
from crisp_loop.energy.accelergy import Accelergy
from crisp_loop.primitives.schema import DRAM, Logic
from crisp_loop.primitives.tables import (
    DRAM_COLUMNS,
    LOGIC_COLUMNS,
    SRAM_COLUMNS,
    Figures,
    Macro,
    sram_file,
    table_text,
)
from crisp_loop.render.spec import CYCLE_S

UNFINISHED = "unfinished.csv"
"""Macros that are done, while not all are: a later call goes on from there."""
_AREA_DIGITS, _ENERGY_DIGITS = 6, 4
"""Aladdin's own tables have two to four digits."""


def record_tables(
    folder: Path, progress: Progress | None = None, workers: int | None = None
) -> tuple[Path, ...]:
    """Ask Accelergy and CACTI for every primitive of :mod:`crisp_loop.energy.plan`.

    Takes about half an hour on two cores. A call that was interrupted is gone on with; files are
    replaced when all of their rows are there.

    Args:
        folder: Where the tables go.
        progress: Who hears of it.
        workers: CACTI processes at a time; None for one a core.

    Raises:
        CrispLoopError: Accelergy or CACTI is missing or fails.
    """
    progress = progress or Quiet()
    accelergy = Accelergy.find()
    program = cacti.Cacti.beside(accelergy.plug_in(cacti.PLUG_IN))
    folder.mkdir(parents=True, exist_ok=True)
    told = (
        f"crisp-loop {__version__}: crisp-loop energy --record DIR, {time.strftime('%Y-%m-%d')}",
        f"{accelergy.version()} (version 0.4); cacti sha256:{program.fingerprint()}",
    )
    measured = _measured(program, folder / UNFINISHED, progress, workers or os.cpu_count() or 1)
    written = []
    for node in plan.SRAM_AXES:
        rows = [(*macro[1:], *figures) for macro, figures in measured.items() if macro.node == node]
        about = (
            f"SRAM macros at {node} nm, as CACTI estimates them for Accelergy's plug-in.",
            *told,
        )
        written.append(_write(folder / sram_file(node), about, SRAM_COLUMNS, rows))
    about = ("DRAM, as Accelergy's CACTI plug-in has it.", *told)
    written.append(_write(folder / "dram.csv", about, DRAM_COLUMNS, _drams(accelergy)))
    about = (
        "Registers, multipliers and adders, as Accelergy's Library (aladdin_*) and Aladdin",
        f"plug-ins have them at a cycle of {CYCLE_S:g} s.",
        *told,
    )
    written.append(_write(folder / "logic.csv", about, LOGIC_COLUMNS, _logic(accelergy, progress)))
    (folder / UNFINISHED).unlink()
    return tuple(written)


def _write(
    path: Path, about: Iterable[str], columns: tuple[str, ...], rows: Iterable[Iterable[object]]
) -> Path:
    write_text(path, table_text(about, columns, rows))
    return path


def _measured(
    program: cacti.Cacti, unfinished: Path, progress: Progress, workers: int
) -> dict[Macro, Figures]:
    """Every planned macro, in the plan's order."""
    done = _done(unfinished)
    planned = plan.macros()
    missing = [macro for macro in planned if macro not in done]
    with ThreadPoolExecutor(workers) as pool, unfinished.open("a", encoding="utf-8") as file:
        futures = [pool.submit(program.measure, macro) for macro in missing]
        try:
            pairs = zip(missing, futures, strict=True)
            for macro, future in progress.track(pairs, "CACTI", total=len(missing)):
                done[macro] = future.result()
                file.write(",".join(map(str, (*macro, *done[macro]))) + "\n")
                file.flush()
        finally:
            for future in futures:
                future.cancel()
    return {macro: done[macro] for macro in planned}


def _done(unfinished: Path) -> dict[Macro, Figures]:
    """Macros of an earlier call; a line that was cut off is left out."""
    if not is_file(unfinished):
        return {}
    done = {}
    text = read_text(unfinished)
    for line in text[: text.rfind("\n") + 1].splitlines():
        values = line.split(",")
        try:
            done[Macro(*map(int, values[:5]))] = Figures(*map(float, values[5:]))
        except (TypeError, ValueError):
            raise CrispLoopError(
                f"{unfinished}: {line!r} is no macro with its figures; delete the file."
            ) from None
    return done


def _drams(accelergy: Accelergy) -> list[tuple[str, float]]:
    parts = {part.type: part for part in plan.drams()}
    answer = accelergy.ask({"architecture.yaml": _architecture(45, parts)})
    return [(kind, answer.energy_pJ[kind]["read"] / part.width) for kind, part in parts.items()]


def _logic(accelergy: Accelergy, progress: Progress) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    nodes = sorted({node for node, _ in plan.logic()})
    for node in progress.track(nodes, "Aladdin"):
        parts = {f"{p.class_}_{p.width}": p for each, p in plan.logic() if each == node}
        answer = accelergy.ask({"architecture.yaml": _architecture(node, parts)})
        for name, part in parts.items():
            energy = answer.energy_pJ[name]
            rows.append(
                (
                    part.class_,
                    node,
                    part.width,
                    _rounded(energy[part.actions[0]], _ENERGY_DIGITS),
                    # pJ a cycle to uW
                    _rounded(energy["leak"] * 1e-6 / CYCLE_S, _ENERGY_DIGITS),
                    _rounded(answer.area_um2[name], _AREA_DIGITS),
                )
            )
    return sorted(rows, key=lambda row: (str(row[0]), row[1], row[2]))


def _architecture(node: int, parts: dict[str, Logic] | dict[str, DRAM]) -> str:
    """An Accelergy architecture with each of ``parts`` once."""
    local = [
        {
            "name": name,
            "class": part.class_,
            "attributes": part.attributes,
            "required_actions": [*part.actions, "leak"],
        }
        for name, part in parts.items()
    ]
    attributes = {"technology": f"{node}nm", "global_cycle_seconds": CYCLE_S}
    top = {"name": "system", "attributes": attributes, "local": local}
    # As JSON, which is YAML with every string in quotes: Accelergy takes 45nm for a sum otherwise.
    return json.dumps({"architecture": {"version": 0.4, "subtree": [top]}}, indent=1)


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
