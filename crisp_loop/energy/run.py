"""Say of every picojoule of a design where it comes from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from crisp_loop.accelerators import Accelerator, load_accelerators
from crisp_loop.accelerators.pricing import AREA, prices
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import dump_yaml, parse_yaml, write_text
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.energy.accelergy import Accelergy, Answer
from crisp_loop.render import render_accelergy, render_energy

TOLERANCE = 1e-3
"""Relative difference up to which a figure is Accelergy's: Aladdin's are kept to four digits."""


@dataclass(frozen=True)
class EnergyRow:
    """One action of one component, or its area."""

    accelerator: str
    component: str
    action: str
    """``area`` for the area."""
    unit: str
    """``pJ``, or ``um2``, an instance each."""
    value: float
    provenance: str
    """Actions of parts, or that the design states it."""
    source: str
    """``exact``: Accelergy's own answer, from a table; ``interpolated`` between its answers;
    ``stated`` by the design."""
    accelergy: float | None = None
    """What Accelergy says here; none where it was not asked or cannot know."""

    @property
    def difference(self) -> float | None:
        """Relative to Accelergy's figure."""
        if self.accelergy is None or self.accelergy == 0:
            return None
        return self.value / self.accelergy - 1


@dataclass(frozen=True)
class EnergyReport:
    """All rows, and what is wrong with Accelergy's answers."""

    rows: tuple[EnergyRow, ...]
    problems: tuple[str, ...]
    """One sentence each."""
    files: tuple[Path, ...] = ()


def price_designs(
    accelerators: Sequence[str],
    accelergy: Accelergy | None = None,
    keep: Path | None = None,
    out_dir: Path | None = None,
    progress: Progress | None = None,
) -> EnergyReport:
    """What every action of some designs costs, what that is made of, and what Accelergy says.

    Args:
        accelerators: Names of designs, or paths of arch files.
        accelergy: Asked once a design; none leaves its figures out.
        keep: Directory of Accelergy's earlier answers (:meth:`Accelergy.ask`).
        out_dir: Where ``energies.csv`` goes and, in a directory a design, ``ERT.yaml`` and
            ``ART.yaml`` with the energies and areas that specs get, and ``accelergy.yaml`` with
            ``components.yaml``, from which Accelergy makes its own.
        progress: Who hears of it.

    Raises:
        CrispLoopError: a design that cannot be priced, two of one name, or a file that cannot be
            written.
    """
    designs = load_accelerators(accelerators)
    rows: list[EnergyRow] = []
    problems: list[str] = []
    for design in (progress or Quiet()).track(designs, "Pricing"):
        of_design = list(_rows(design))
        if accelergy is not None:
            try:
                answer = accelergy.ask(render_accelergy(design), keep)
            except CrispLoopError as error:
                problems.append(f"{design.name}: {error}")
            else:
                of_design = [_with_answer(row, answer) for row in of_design]
                problems += _problems(design, of_design, answer)
        rows += of_design
    files = tuple(_written(designs, rows, out_dir)) if out_dir else ()
    return EnergyReport(tuple(rows), tuple(problems), files)


def _rows(design: Accelerator) -> Iterator[EnergyRow]:
    for price in prices(design):
        yield EnergyRow(
            design.name,
            price.component,
            price.action,
            "um2" if price.action == AREA else "pJ",
            price.value,
            price.provenance,
            price.source,
        )


def _with_answer(row: EnergyRow, answer: Answer) -> EnergyRow:
    said = answer.energy_pJ.get(row.component, {}).get(row.action)
    if row.action == AREA:
        said = answer.area_um2.get(row.component)
    return replace(row, accelergy=said)


def _problems(design: Accelerator, rows: Sequence[EnergyRow], answer: Answer) -> Iterator[str]:
    """What makes an answer another one than was meant."""
    for component in design.components:
        for name, part in component.parts.items():
            said = answer.estimators.get(component.name, {}).get(name)
            if said not in (None, part.estimator):
                yield (
                    f"{design.name}: Accelergy estimates {name} of {component.name} ({part}) with"
                    f" {said}, and {part.estimator} is meant; install that plug-in."
                )
    for row in rows:
        if row.source == "stated":
            continue
        where = f"{design.name}: Accelergy"
        what = f"{row.action} of {row.component} ({row.provenance})"
        if row.accelergy is None:
            yield f"{where} has no figure for {what}."
        elif row.accelergy == 0 and row.value != 0:
            yield f"{where} says 0 {row.unit} for {what}, which is no estimate."
        elif row.source == "exact" and abs(row.difference or 0) > TOLERANCE:
            yield (
                f"{where} says {row.accelergy:g} {row.unit} for {what}, and the table"
                f" {row.value:g}; they are of other versions of the tools."
            )


def _written(
    designs: Sequence[Accelerator], rows: Sequence[EnergyRow], out_dir: Path
) -> Iterator[Path]:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([field.name for field in fields(EnergyRow)])
    table.writerows(["" if cell is None else cell for cell in astuple(row)] for row in rows)
    contents = {"energies.csv": text.getvalue()}
    for design in designs:
        tables = parse_yaml(render_energy(design), "energy.yaml")
        for name in ("ERT", "ART"):
            contents[f"{design.name}/{name}.yaml"] = dump_yaml({name: tables[name]})
        for name, content in render_accelergy(design).items():
            contents[f"{design.name}/{name}"] = content
    for name, content in contents.items():
        write_text(out_dir / name, content)
        yield out_dir / name
