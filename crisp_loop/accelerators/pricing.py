"""Energies and areas of a design: what its file leaves open, from the tables of ``arch/energy``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from crisp_loop.accelerators.parts import Parts, default_actions, default_parts
from crisp_loop.accelerators.schema import STATED, Accelerator, Compute, Level
from crisp_loop.core.errors import InputError
from crisp_loop.primitives import Primitive, Quote, UnpricedError, look_up

Part = TypeVar("Part", Level, Compute)
AREA = "area"
"""Stands in place of an action's name."""
_COMPUTE_ACTIONS = ("mac_random", "mac_gated", "mac_skipped")


def priced(accelerator: Accelerator, where: Path | str) -> Accelerator:
    """``accelerator`` with the parts, actions, energies and areas that its file leaves open.

    What the file states in ``energy`` and ``area`` stays; an action that is stated has no entry in
    ``actions``.

    Args:
        accelerator: As it was read.
        where: Its file, for messages.

    Raises:
        InputError: a part that the tables do not reach, an action that no part knows, or one
            without a price.
    """
    levels = tuple(
        _Pricing(accelerator.node, f"levels.{index}", where).filled(level)
        for index, level in enumerate(accelerator.levels)
    )
    compute = _Pricing(accelerator.node, "compute", where).filled(accelerator.compute)
    return accelerator.model_copy(update={"levels": levels, "compute": compute})


@dataclass(frozen=True)
class Price:
    """One action of one component of a priced design, or its area."""

    component: str
    action: str
    """Or :data:`AREA`."""
    value: float
    """pJ, or um^2, an instance."""
    provenance: str
    """Actions and parts, or that the design states it."""
    source: Literal["exact", "interpolated", "stated"]
    """Accelergy's own answer, between its answers, or the file's."""


def prices(accelerator: Accelerator) -> Iterator[Price]:
    """Each action of a priced design, level by level from the outermost, then the areas."""
    node = accelerator.node
    for component in accelerator.components:
        for action, energy in component.energy.items():
            names = {term.partition(".")[0] for term in component.actions.get(action, ())}
            source = _source([component.parts[name] for name in names], node)
            yield Price(component.name, action, energy, component.provenance(action), source)
    for component in accelerator.components:
        assert component.area is not None
        parts = list(component.parts.values())
        if component.area != _area(component.parts, node):
            parts = []
        provenance = " + ".join(map(str, parts)) or STATED
        yield Price(component.name, AREA, component.area, provenance, _source(parts, node))


def _source(parts: Sequence[Primitive], node: int) -> Literal["exact", "interpolated", "stated"]:
    if not parts:
        return "stated"
    exact = all(look_up(part, node).source == "exact" for part in parts)
    return "exact" if exact else "interpolated"


def _area(parts: Mapping[str, Primitive], node: int) -> float:
    """um^2 of all parts with their copies."""
    return _six_digits(sum(look_up(part, node).area_um2 * part.count for part in parts.values()))


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")


@dataclass(frozen=True)
class _Pricing:
    node: int
    """Technology in nm."""
    field: str
    """The component's place in the file."""
    where: Path | str

    def filled(self, component: Part) -> Part:
        for action in component.energy:
            if action in component.actions:
                raise InputError(
                    self.where,
                    f"{self.field}.energy.{action}",
                    component.energy[action],
                    f"actions.{action} says what it is made of; give one of the two",
                )
        parts: Parts = {**default_parts(component), **component.parts}
        actions = {
            action: terms
            for action, terms in (default_actions(component, parts) | component.actions).items()
            if action not in component.energy
        }
        used = {name: parts[name] for name in self._used(actions, parts, component)}
        quotes = {name: self._quote(component, name, used) for name in used}
        energy = {
            action: self._energy(action, terms, quotes) for action, terms in actions.items()
        } | component.energy
        self._complete(component, energy)
        area = component.area
        return component.model_copy(
            update={
                "parts": used,
                "actions": actions,
                "energy": {name: energy[name] for name in _in_order(component, energy)},
                "area": _area(used, self.node) if area is None else area,
            }
        )

    def _used(
        self, actions: dict[str, tuple[str, ...]], parts: Parts, component: Level | Compute
    ) -> list[str]:
        """Parts that energies or the area are the sum of."""
        wanted = {
            term.partition(".")[0]: action for action, terms in actions.items() for term in terms
        }
        for name, action in wanted.items():
            if name not in parts:
                raise self._lacking(component, name, action, parts)
        return [name for name in parts if name in wanted or component.area is None]

    def _lacking(
        self, component: Level | Compute, name: str, action: str, parts: Parts
    ) -> InputError:
        if name == "metadata" and isinstance(component, Level) and action not in component.actions:
            return InputError(
                self.where,
                f"{self.field}.metadata.depth",
                None,
                "without it, the store cannot be priced; give it a depth, or give parts.metadata",
            )
        known = ", ".join(parts) or "none"
        return InputError(
            self.where,
            f"{self.field}.actions.{action}",
            name,
            f"it is not among the parts: {known}",
        )

    def _quote(self, component: Level | Compute, name: str, parts: Parts) -> Quote:
        try:
            return look_up(parts[name], self.node)
        except UnpricedError as error:
            place = self._place(component, name, error.field)
            raise InputError(
                self.where,
                place,
                error.value,
                f"{error.expected}, for {name} of {component.name};"
                " change it, or state energy and area in the file",
            ) from None

    def _place(self, component: Level | Compute, name: str, attribute: str) -> str:
        """The field of the file that gave a part its attribute."""
        if attribute == "technology":
            return "technology"
        if name in component.parts:
            return f"{self.field}.parts.{name}.{attribute}"
        if isinstance(component, Compute):
            return f"{self.field}.datawidth"
        if name == "metadata" and attribute in ("depth", "width"):
            return f"{self.field}.metadata.{attribute}"
        return f"{self.field}.{attribute}"

    def _energy(self, action: str, terms: tuple[str, ...], quotes: dict[str, Quote]) -> float:
        total = 0.0
        for term in terms:
            name, _, access = term.partition(".")
            known = quotes[name].energy_pJ
            if access not in known:
                raise InputError(
                    self.where,
                    f"{self.field}.actions.{action}",
                    term,
                    f"{name} knows {', '.join(known)}",
                )
            total += known[access]
        return _six_digits(total)

    def _complete(self, component: Level | Compute, energy: dict[str, float]) -> None:
        needed = _COMPUTE_ACTIONS if isinstance(component, Compute) else ()
        for action in needed:
            if action not in energy:
                raise InputError(
                    self.where,
                    f"{self.field}.energy",
                    list(energy),
                    f"{action} lacks a price, and every action needs one",
                )


def _in_order(component: Level | Compute, energy: dict[str, float]) -> list[str]:
    """Actions in the order of every table: the component's own ones first."""
    own = _COMPUTE_ACTIONS
    if isinstance(component, Level):
        own = ("read", "write", "metadata_read", "metadata_write")
    return [
        *(name for name in own if name in energy),
        *(name for name in energy if name not in own),
    ]
