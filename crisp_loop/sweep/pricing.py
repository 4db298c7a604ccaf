"""What settings cost on designs: problems that points share are mapped and analysed once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from crisp_loop import __version__
from crisp_loop.accelerators import Accelerator, Problem, problem_for
from crisp_loop.core.corrections import corrected_cycles
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.files import sha256
from crisp_loop.core.gemm import Gemm
from crisp_loop.core.loops import LoopNest
from crisp_loop.core.spec import Spec
from crisp_loop.cost.analytic import Analytic
from crisp_loop.cost.engine import Engine
from crisp_loop.cost.run import evaluate_specs
from crisp_loop.render import spec_of
from crisp_loop.sparseloop import Demands, demands_of
from crisp_loop.sparseloop.columns import FloatArray, IntArray
from crisp_loop.sweep.mappings import Mappings
from crisp_loop.sweep.networks import Lowered

_ANALYTIC = f"{Analytic.name} {__version__}"


class Problems:
    """The different problems that GEMMs become on a design."""

    def __init__(self, design: Accelerator, exact: bool) -> None:
        """``exact``: whether problems know which blocks of their inputs are really read."""
        self.design = design
        self.exact = exact
        self.all: list[Problem] = []
        self.layers: list[str] = []
        """Of each: the first layer that has it, for messages."""
        self._numbers: dict[object, int] = {}

    def numbers(self, gemms: Sequence[Gemm]) -> IntArray:
        """The number of each layer's problem, (layers,).

        Raises:
            CrispLoopError: no mode of the design takes a layer.
        """
        return np.array([self._number(gemm) for gemm in gemms], dtype=np.int64)

    def _number(self, gemm: Gemm) -> int:
        problem = problem_for(self.design, gemm, self.exact)
        # A problem's key names its mapping. Its spec also depends on how wide indices are, and on
        # all digits of its densities.
        key = (
            problem.key,
            tuple(problem.densities.values()),
            problem.index_bits,
            problem.metadata_bits,
        )
        if key not in self._numbers:
            self._numbers[key] = len(self.all)
            self.all.append(problem)
            self.layers.append(gemm.layer)
        return self._numbers[key]


@dataclass(frozen=True, eq=False)
class Prepared:
    """What settings ask of designs of one shape, at whatever bandwidths."""

    design: Accelerator
    """One of them."""
    problems: Problems
    numbers: tuple[IntArray | str, ...]
    """Of each setting: its layers' problems, or why a layer becomes none."""
    nests: tuple[LoopNest | str, ...]
    """The mapping of each problem, or why it has none."""

    @cached_property
    def mapped(self) -> tuple[tuple[int, LoopNest], ...]:
        """The problems that have a mapping, by number."""
        return tuple((i, nest) for i, nest in enumerate(self.nests) if isinstance(nest, LoopNest))

    @cached_property
    def specs(self) -> list[Spec]:
        """The specs of the mapped problems."""
        return [
            spec_of(
                self.design,
                self.problems.all[i],
                nest,
                f"{self.design.name}: {self.problems.layers[i]}",
            )
            for i, nest in self.mapped
        ]

    @cached_property
    def demands(self) -> Demands:
        """What the mapped problems ask, by the analytic engine."""
        return demands_of(self.specs)


def prepare(design: Accelerator, mappings: Mappings, settings: Iterable[Lowered]) -> Prepared:
    """The problems of settings on a design, with their mappings.

    Args:
        design: The design.
        mappings: Those of the design, or of the one whose mappings it keeps.
        settings: Networks as GEMMs.
    """
    problems = Problems(design, mappings.request.exact)
    numbers: list[IntArray | str] = []
    for setting in settings:
        try:
            numbers.append(problems.numbers(setting.gemms))
        except CrispLoopError as error:
            numbers.append(str(error))
    nests: list[LoopNest | str] = []
    for problem, layer in zip(problems.all, problems.layers, strict=True):
        try:
            nests.append(mappings.nest(problem, layer))
        except CrispLoopError as error:
            nests.append(str(error))
    return Prepared(design, problems, tuple(numbers), tuple(nests))


@dataclass(frozen=True, eq=False)
class Prices:
    """What problems cost on designs: (designs, problems) unless said."""

    cycles_model: IntArray
    cycles: IntArray
    """With what Sparseloop cannot express (DSTC's lanes)."""
    energy_uJ: FloatArray
    """(problems,)"""
    utilization: FloatArray
    bottleneck: IntArray
    """Number in ``parts``."""
    parts: tuple[str, ...]
    """Names of the levels, and of the arithmetic last."""
    words: dict[str, IntArray]
    """Level to data words that cross it, (problems,); only levels that the designs have."""
    columns: IntArray
    """(problems,) N with its padding."""
    metadata_bits: IntArray
    """(problems,)"""
    mappings: tuple[str, ...]
    """A problem."""
    refusals: tuple[str, ...]
    """Why a problem has no figures; empty where it has them."""
    engine_version: str
    """The engine by name and version."""


def analytic_prices(prepared: Prepared, designs: Sequence[Accelerator]) -> Prices:
    """Prices by the analytic engine, on designs that differ in their bandwidths alone."""
    if not prepared.mapped:
        return _unpriced(prepared, _ANALYTIC, len(designs))
    demands = prepared.demands
    if not demands.levels:
        return _unpriced(prepared, _ANALYTIC, len(designs), demands.refusals)
    at = np.array([i for i, _ in prepared.mapped])
    pace = demands.paced(np.array([_bandwidths(design, demands.levels) for design in designs]))
    corrections = np.array([prepared.problems.all[i].cycle_correction for i in at.tolist()])
    with np.errstate(divide="ignore", invalid="ignore"):
        cycles = corrected_cycles(pace.cycles, demands.compute_cycles, corrections)
        # In two steps, as a results table has it.
        utilization = demands.ideal_cycles / pace.cycles * (pace.cycles / cycles)
    arithmetic = len(demands.levels)
    bottleneck = np.where(cycles > pace.cycles, arithmetic, pace.bottleneck)
    prices = _unpriced(prepared, _ANALYTIC, len(designs), demands.refusals)
    sound = at[demands.sound]
    for table, values in (
        (prices.cycles_model, pace.cycles),
        (prices.cycles, cycles),
        (prices.energy_uJ, demands.energy_pJ * 1e-6),
        (prices.utilization, utilization),
        (prices.bottleneck, bottleneck),
    ):
        table[..., sound] = values[..., demands.sound]
    for name, moved in zip(demands.levels, demands.words, strict=True):
        words = prices.words.setdefault(name, np.zeros(len(prepared.nests), np.int64))
        words[sound] = np.round(moved[demands.sound]).astype(np.int64)
    return replace(prices, parts=(*demands.levels, demands.compute))


def engine_prices(prepared: Prepared, engine: Engine) -> Prices:
    """Prices by any engine, on the design that was prepared."""
    said = _evaluated(prepared.specs, engine)
    reasons = tuple(each if isinstance(each, str) else "" for each in said)
    prices = _unpriced(prepared, f"{engine.name} {engine.version()}", 1, reasons)
    design = prepared.design
    parts = (*(level.name for level in reversed(design.levels)), design.compute.name)
    for (i, _), evaluation in zip(prepared.mapped, said, strict=True):
        if isinstance(evaluation, str):
            continue
        correction = prepared.problems.all[i].cycle_correction
        cycles = int(corrected_cycles(evaluation.cycles, evaluation.compute.cycles, correction))
        slowed = cycles > evaluation.cycles
        prices.cycles_model[0, i], prices.cycles[0, i] = evaluation.cycles, cycles
        prices.energy_uJ[i] = evaluation.energy_uJ
        prices.utilization[0, i] = evaluation.utilization * (evaluation.cycles / cycles)
        slowest = evaluation.compute.name if slowed else evaluation.bottleneck
        prices.bottleneck[0, i] = parts.index(slowest)
        for level in evaluation.levels:
            words = prices.words.setdefault(level.name, np.zeros(len(prepared.nests), np.int64))
            words[i] = round(level.words)
    return replace(prices, parts=parts)


def _evaluated(specs: Sequence[Spec], engine: Engine) -> list[Evaluation | str]:
    """What an engine says of specs: all at once, or where it refuses one, each by itself."""
    try:
        return list(evaluate_specs(specs, engine)) if specs else []
    except CrispLoopError:
        return [_evaluated_alone(spec, engine) for spec in specs]


def _evaluated_alone(spec: Spec, engine: Engine) -> Evaluation | str:
    try:
        return evaluate_specs([spec], engine)[0]
    except CrispLoopError as error:
        return str(error)


def _unpriced(prepared: Prepared, engine: str, designs: int, reasons: Sequence[str] = ()) -> Prices:
    """Prices to be filled in.

    Args:
        prepared: The problems.
        engine: Who prices them, by name and version.
        designs: How many designs they are priced on.
        reasons: Why a mapped problem has no price; empty where it has one.
    """
    count = len(prepared.nests)
    refusals = [nest if isinstance(nest, str) else "" for nest in prepared.nests]
    for (i, _), reason in zip(prepared.mapped, reasons, strict=False):
        refusals[i] = reason
    mapped = dict(prepared.mapped)
    return Prices(
        cycles_model=np.zeros((designs, count), np.int64),
        cycles=np.zeros((designs, count), np.int64),
        energy_uJ=np.zeros(count),
        utilization=np.zeros((designs, count)),
        bottleneck=np.zeros((designs, count), np.int64),
        parts=("",),
        words={},
        columns=np.array(
            [
                mapped[i].bound("N") if i in mapped else problem.bounds["N"]
                for i, problem in enumerate(prepared.problems.all)
            ],
            dtype=np.int64,
        ),
        metadata_bits=np.array(
            [problem.metadata_bits for problem in prepared.problems.all], dtype=np.int64
        ),
        mappings=tuple("; ".join(mapped[i].compact()) if i in mapped else "" for i in range(count)),
        refusals=tuple(refusals),
        engine_version=engine,
    )


def _bandwidths(design: Accelerator, levels: Iterable[str]) -> list[tuple[float, float]]:
    found = []
    for name in levels:
        level = design.level(name)
        found.append((level.read_bandwidth or math.inf, level.write_bandwidth or math.inf))
    return found


def shape_of(design: Accelerator) -> str:
    """Hash of all numbers of a design but its bandwidths; designs of one share their analysis."""
    bandwidths = {"read_bandwidth", "write_bandwidth"}
    left_out = {"title": True, "about": True, "levels": {"__all__": bandwidths}}
    return sha256(design.model_dump_json(exclude=left_out))
