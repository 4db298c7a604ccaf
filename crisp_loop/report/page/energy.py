"""Where the energy goes: by level and by tensor, design by design."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from crisp_loop.core.evaluation import Evaluation
from crisp_loop.report.page.colours import LEAKAGE, Key, level_keys, tensor_keys

ARITHMETIC = "arithmetic"


@dataclass
class Energies:
    """Microjoules of one design over all layers of a model."""

    levels: dict[str, float] = field(default_factory=dict)
    """Outermost memory first, the arithmetic last."""
    tensors: dict[str, float] = field(default_factory=dict)
    """A, B and Z over all memories, then the arithmetic, then leakage where there is some."""

    def add(self, evaluation: Evaluation, scale: int) -> None:
        """Add a layer that runs ``scale`` times."""
        leakage = 0.0
        for level in reversed(evaluation.levels):
            _add(self.levels, level.name, level.energy_pJ * scale)
            accesses = 0.0
            for name in sorted(level.tensors):
                _add(self.tensors, name, level.tensors[name].energy_pJ * scale)
                accesses += level.tensors[name].energy_pJ
            leakage += level.energy_pJ - accesses
        for parts in (self.levels, self.tensors):
            _add(parts, ARITHMETIC, evaluation.compute.energy_pJ * scale)
        # What is left of sums in other orders, or of printed digits, is no leakage.
        if leakage > 1e-4 * sum(level.energy_pJ for level in evaluation.levels):
            _add(self.tensors, LEAKAGE, leakage * scale)


def _add(parts: dict[str, float], name: str, picojoules: float) -> None:
    parts[name] = parts.get(name, 0.0) + picojoules * 1e-6


@dataclass(frozen=True)
class Part:
    """One piece of a stacked bar."""

    key: Key
    microjoules: float
    x: float
    """Percent of the widest bar, as the width."""
    width: float
    share: float
    """Of the design's energy, 0 to 1."""


@dataclass(frozen=True)
class Stack:
    """One design's bar."""

    design: str
    microjoules: float
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class EnergyFigure:
    """Stacked bars on one scale."""

    title: str
    stacks: tuple[Stack, ...]
    keys: tuple[Key, ...]


def energy_figures(
    designs: dict[str, Energies], memories: Sequence[str]
) -> tuple[EnergyFigure, EnergyFigure]:
    """By level and by tensor.

    Args:
        designs: Energies of each design, in order.
        memories: Names of all memories, outermost first.
    """
    tensors = dict.fromkeys(
        name
        for each in designs.values()
        for name in sorted(set(each.tensors) - {ARITHMETIC, LEAKAGE})
    )
    by_level = {name: each.levels for name, each in designs.items()}
    by_tensor = {name: each.tensors for name, each in designs.items()}
    return (
        _figure("By level", by_level, level_keys(memories, ARITHMETIC)),
        _figure("By tensor", by_tensor, tensor_keys(list(tensors), ARITHMETIC)),
    )


def _figure(title: str, designs: dict[str, dict[str, float]], keys: dict[str, Key]) -> EnergyFigure:
    widest = max(sum(parts.values()) for parts in designs.values())
    order = [*(name for name in keys if name != ARITHMETIC), ARITHMETIC]
    stacks = []
    for design, energies in designs.items():
        total, x, parts = sum(energies.values()), 0.0, []
        for name in order:
            energy = energies.get(name, 0.0)
            if energy > 0:
                width = 100 * energy / widest
                parts.append(Part(keys[name], energy, x, width, energy / total))
                x += width
        stacks.append(Stack(design, total, tuple(parts)))
    seen = {part.key.name for stack in stacks for part in stack.parts}
    return EnergyFigure(
        title, tuple(stacks), tuple(keys[name] for name in order if keys[name].name in seen)
    )


def memories_of(evaluations: Iterable[Evaluation]) -> list[str]:
    """Names of the memories of all designs, outermost first."""
    by_depth: dict[str, int] = {}
    for evaluation in evaluations:
        for depth, level in enumerate(reversed(evaluation.levels)):
            by_depth[level.name] = max(depth, by_depth.get(level.name, 0))
    return sorted(by_depth, key=lambda name: by_depth[name])
