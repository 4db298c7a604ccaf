"""Why a mapping wins: the roofs over its speed, and where its energy goes."""

from __future__ import annotations

from dataclasses import dataclass

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.corrections import corrected_cycles
from crisp_loop.core.loops import LoopNest
from crisp_loop.core.mappings import Mapped, Provenance
from crisp_loop.mapping.bounds import least_cycles
from crisp_loop.render import spec_of
from crisp_loop.sparseloop.model import evaluate, port_demands


@dataclass(frozen=True)
class Explanation:
    """One mapping, seen as a roofline."""

    accelerator: str
    layers: tuple[str, ...]
    """Layers that run like this; they are one GEMM to the design."""
    nest: LoopNest
    cycles: int
    """With what Sparseloop cannot express included."""
    energy_uJ: float
    computes: int
    """Multiply-accumulates that take place."""
    peak: float
    """Computes a cycle with every lane busy and no memory in the way."""
    arithmetic_roof: float
    """Computes a cycle that the lanes which the mapping uses attain."""
    memory_roofs: dict[str, float]
    """Computes a cycle that each memory with a bandwidth can feed, outermost first: its bandwidth
    times the computes a word."""
    energy_shares: dict[str, float]
    """Of each level and the arithmetic, outermost first."""
    found: Provenance | None

    @property
    def speed(self) -> float:
        """Computes a cycle, attained."""
        return self.computes / self.cycles

    @property
    def utilization(self) -> float:
        """Speed over peak."""
        return self.speed / self.peak

    @property
    def bottleneck(self) -> str:
        """The lowest roof: a memory's name, or ``arithmetic``."""
        roofs = {"arithmetic": self.arithmetic_roof, **self.memory_roofs}
        return min(roofs, key=lambda name: roofs[name])

    @property
    def why(self) -> str:
        """The same in one sentence."""
        limit = self.bottleneck
        if limit == "arithmetic":
            idle = 1 - self.arithmetic_roof / self.peak
            reason = "the arithmetic sets the pace with " + (
                f"{idle:.1%} of the lanes idle" if idle >= 0.0005 else "every lane busy"
            )
        else:
            reason = (
                f"{limit} sets the pace, it feeds {self.memory_roofs[limit]:.1f} computes a cycle"
            )
        busy = [
            f"{name} works {self.speed / roof:.0%} of the time"
            for name, roof in self.memory_roofs.items()
            if name != limit
        ]
        most = max(self.energy_shares, key=lambda name: self.energy_shares[name])
        parts = [reason, *busy, f"{most} takes {self.energy_shares[most]:.0%} of the energy"]
        return "; ".join(parts)


def explain(
    accelerator: Accelerator, problem: Problem, mapped: Mapped, layers: tuple[str, ...] = ()
) -> Explanation:
    """Evaluate a mapping by the analytic engine and take its speed apart.

    Args:
        accelerator: The design.
        problem: The GEMM as the design runs it, before N is padded.
        mapped: The mapping.
        layers: Layers that run like this.

    Raises:
        IllegalMappingError: the mapping does not fit the design.
    """
    spec = spec_of(accelerator, problem, mapped.nest)
    result, demands = evaluate(spec), port_demands(spec)
    cycles = corrected_cycles(result.cycles, result.compute.cycles, problem.cycle_correction)
    arithmetic = corrected_cycles(1, result.compute.cycles, problem.cycle_correction)
    shares = {level.name: level.energy_pJ for level in reversed(result.levels)}
    shares["arithmetic"] = result.compute.energy_pJ
    computes = result.compute.actual
    return Explanation(
        accelerator=accelerator.name,
        layers=layers,
        nest=mapped.nest,
        cycles=int(cycles),
        energy_uJ=result.energy_uJ,
        computes=computes,
        peak=computes / least_cycles(accelerator, problem),
        arithmetic_roof=computes / int(arithmetic),
        memory_roofs={
            level.name: computes / result.compute.cycles / demands[level.name]
            for level in accelerator.levels
            if demands[level.name]
        },
        energy_shares={name: each / sum(shares.values()) for name, each in shares.items()},
        found=mapped.found,
    )
