"""Rooflines: what each layer attains, under the roofs of the arithmetic and of a memory.

Both axes count computes that take place. Along x stand computes a word at the memory's busiest
port, so that the memory's roof is its bandwidth times x exactly: reads and writes have ports of
their own, and only the busier one can hold a layer back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.manifest import SpecEntry
from crisp_loop.core.spec import load_spec
from crisp_loop.report.page.colours import Key
from crisp_loop.report.page.scale import LogScale, powers_of_two_around
from crisp_loop.sparseloop.model import parse, port_demands

_WIDTH, _HEIGHT = 440.0, 330.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 428.0, 14.0, 288.0


@dataclass(frozen=True)
class Traffic:
    """One layer on one design at one memory."""

    layer: str
    design: str
    memory: str
    intensity: float
    """Computes a word at the memory's busiest port."""
    speed: float
    """Computes a cycle, attained."""
    bandwidth: float
    """Words a cycle of that port."""
    peak: float
    """Computes a cycle with every multiplier of the design busy."""


@dataclass(frozen=True)
class Point:
    """Layers of one design that stand at one place."""

    x: float
    y: float
    key: Key
    title: str


@dataclass(frozen=True)
class Roof:
    """One design's, or that of several: rising with the bandwidth, then level at the peak."""

    path: str
    rising: str
    rising_x: float
    rising_y: float
    angle: float
    """Of the rising part on the page, degrees."""
    level: str
    level_y: float


@dataclass(frozen=True)
class Roofline:
    """The figure of one memory, in the units of its view box."""

    memory: str
    roofs: tuple[Roof, ...]
    points: tuple[Point, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: float = _WIDTH
    height: float = _HEIGHT
    left: float = _LEFT
    right: float = _RIGHT
    top: float = _TOP
    bottom: float = _BOTTOM


def rooflines(traffic: Sequence[Traffic], keys: Mapping[str, Key]) -> tuple[Roofline, ...]:
    """A figure for each memory with a bandwidth, outermost first.

    Args:
        traffic: Of one model's layers, see :func:`traffic_of`.
        keys: Of the designs.
    """
    memories = dict.fromkeys(each.memory for each in traffic)
    parts = [[each for each in traffic if each.memory == memory] for memory in memories]
    return tuple(_roofline(part, keys) for part in parts)


def traffic_of(
    entry: SpecEntry, evaluation: Evaluation, cycles: int, folder: Path
) -> tuple[Traffic, ...]:
    """What a layer needs of each memory with a bandwidth, outermost first.

    Args:
        entry: The layer on its design.
        evaluation: What the engine said of its spec.
        cycles: Of one run of the spec, corrections included.
        folder: The directory that the spec's path is relative to.

    Raises:
        CrispLoopError: a spec that is gone, or that the analytic model does not cover.
    """
    spec = load_spec(folder / entry.spec)
    if evaluation.engine != "analytic-exact":
        # The other engines do not see which inputs are really gathered.
        spec = replace(spec, gathers=())
    demands, found = port_demands(spec), []
    for level in reversed(parse(spec).architecture.levels):
        limits = (level.read_bandwidth, level.write_bandwidth, level.shared_bandwidth)
        bandwidth = min((each for each in limits if each is not None), default=None)
        demand = demands[level.name]
        if bandwidth is not None and demand > 0 and evaluation.compute.actual:
            fed = evaluation.compute.actual / evaluation.compute.cycles / demand
            found.append(
                Traffic(
                    layer=entry.layer,
                    design=entry.accelerator,
                    memory=level.name,
                    intensity=fed / bandwidth,
                    speed=evaluation.compute.actual / cycles,
                    bandwidth=bandwidth,
                    peak=evaluation.compute.instances,
                )
            )
    return tuple(found)


def all_traffic(
    entries: Sequence[tuple[SpecEntry, Evaluation, int]], folder: Path
) -> tuple[list[Traffic], list[str]]:
    """Traffic of every (entry, evaluation, cycles), and the specs that had to be left out.

    Layers of one shape have one spec, which is looked at once.
    """
    seen: dict[str, tuple[Traffic, ...]] = {}
    found: list[Traffic] = []
    left_out: list[str] = []
    for entry, evaluation, cycles in entries:
        key = repr((entry.accelerator, sorted(entry.files.items()), cycles))
        if not entry.files or key not in seen:
            try:
                seen[key] = traffic_of(entry, evaluation, cycles, folder)
            except CrispLoopError:
                left_out.append(entry.spec)
                continue
        found += [replace(each, layer=entry.layer) for each in seen[key]]
    return found, left_out


def _roofline(traffic: Sequence[Traffic], keys: Mapping[str, Key]) -> Roofline:
    highest = max(max(each.peak, each.speed) for each in traffic)
    ridges = [each.peak / each.bandwidth for each in traffic]
    x = LogScale(
        *powers_of_two_around([*(each.intensity for each in traffic), *ridges]), _LEFT, _RIGHT
    )
    low, high = powers_of_two_around([*(each.speed for each in traffic), highest])
    y = LogScale(low, high, _BOTTOM, _TOP)
    designs: dict[tuple[float, float], list[str]] = {}
    for each in traffic:
        names = designs.setdefault((each.bandwidth, each.peak), [])
        if each.design not in names:
            names.append(each.design)
    several = len(designs) > 1
    return Roofline(
        memory=traffic[0].memory,
        roofs=tuple(
            _roof(x, y, bandwidth, peak, f" ({', '.join(names)})" if several else "")
            for (bandwidth, peak), names in designs.items()
        ),
        points=_points(traffic, keys, x, y),
        x_ticks=tuple((x(tick), f"{tick:g}") for tick in x.ticks),
        y_ticks=tuple((y(tick), f"{tick:g}") for tick in y.ticks),
    )


def _roof(x: LogScale, y: LogScale, bandwidth: float, peak: float, whose: str) -> Roof:
    start = max(x.low, y.low / bandwidth)
    ridge = peak / bandwidth
    corners = [(x(start), y(bandwidth * start)), (x(ridge), y(peak)), (x.end, y(peak))]
    path = "M" + " L".join(f"{across:.1f} {down:.1f}" for across, down in corners)
    (x0, y0), (x1, y1) = corners[:2]
    return Roof(
        path=path,
        rising=f"{bandwidth:g} words/cycle{whose}",
        rising_x=(x0 + x1) / 2,
        rising_y=(y0 + y1) / 2,
        angle=math.degrees(math.atan2(y1 - y0, x1 - x0)),
        level=f"{peak:g} multipliers{whose}",
        level_y=y(peak),
    )


def _points(
    traffic: Sequence[Traffic], keys: Mapping[str, Key], x: LogScale, y: LogScale
) -> tuple[Point, ...]:
    places: dict[tuple[str, float, float], list[Traffic]] = {}
    for each in traffic:
        place = each.design, round(x(each.intensity), 1), round(y(each.speed), 1)
        places.setdefault(place, []).append(each)
    return tuple(
        Point(
            across,
            down,
            keys[design],
            f"{', '.join(dict.fromkeys(each.layer for each in same))} on {design}:"
            f" {same[0].speed:.4g} computes a cycle, {same[0].intensity:.4g} a word",
        )
        for (design, across, down), same in places.items()
    )
