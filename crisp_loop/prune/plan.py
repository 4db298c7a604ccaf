"""Which layers are pruned, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.layers import HEAD, STEM, Layer, LayerTable, roles, unfit
from crisp_loop.core.pattern import as_fraction, blocks_over
from crisp_loop.prune.config import MethodName, PruneConfig
from crisp_loop.prune.schedule import weights_to_prune

Form = Literal["hybrid", "nm", "unstructured", "channel", "dense"]


@dataclass(frozen=True)
class LayerPlan:
    """What happens to one layer."""

    layer: Layer
    form: Form
    """``hybrid``: N:M inside blocks; ``nm``: N:M alone; ``unstructured``: single weights;
    ``channel``: whole output channels; ``dense``: left alone."""
    reason: str
    """Why it is not what the method prunes otherwise, or how it is padded; else empty."""


@dataclass(frozen=True)
class Plan:
    """What happens to every layer of a network, in execution order."""

    layers: tuple[LayerPlan, ...]

    def of_form(self, *forms: Form) -> tuple[Layer, ...]:
        """The layers with one of ``forms``."""
        return tuple(entry.layer for entry in self.layers if entry.form in forms)

    @property
    def prunable(self) -> tuple[Layer, ...]:
        """The layers with masks: all but dense ones."""
        return tuple(entry.layer for entry in self.layers if entry.form != "dense")


def plan_layers(table: LayerTable, config: PruneConfig) -> Plan:
    """Decide for every layer of ``table``.

    Dense are: the stem (first layer that runs, if a convolution) and the head (last one, if
    linear) unless asked; grouped and depthwise convolutions; layers whose input channels M does
    not divide; what ``exclude`` names. That holds for every method, so all prune the same layers.
    N:M only are layers with a side that B does not divide, unless they are to be padded.

    Raises:
        InputError: ``exclude`` names a layer that is not there, or the sparsity is out of reach.
        CrispLoopError: no layer is left to prune.
    """
    for pattern in config.exclude:
        if not any(fnmatchcase(layer.name, pattern) for layer in table.layers):
            names = ", ".join(layer.name for layer in table.layers[:6])
            raise InputError(
                "prune",
                "exclude",
                pattern,
                f"no conv or linear layer of {table.model} is called so; it has {names}, ...",
            )
    pruned_too = {STEM: config.prune_stem, HEAD: config.prune_head}
    ends = {name: role for name, role in roles(table).items() if not pruned_too[role]}
    entries = tuple(
        LayerPlan(layer, *_decide(layer, config, ends.get(layer.name, "")))
        for layer in table.layers
    )
    plan = Plan(entries)
    if not plan.prunable and config.method != "dense":
        why = "; ".join(sorted({entry.reason for entry in entries})) or "no such layer was found"
        raise CrispLoopError(f"{table.model} has no conv or linear layer to prune: {why}.")
    _check_reachable(plan, config)
    return plan


def _decide(layer: Layer, config: PruneConfig, role: str) -> tuple[Form, str]:
    block = config.block
    if any(fnmatchcase(layer.name, pattern) for pattern in config.exclude):
        return "dense", "excluded"
    if reason := role or unfit(layer, config.nm.m):
        return "dense", reason
    form = _FORMS[config.method]
    if form != "hybrid":
        return form, ""
    alone: Form = "dense" if config.indivisible == "dense" else "nm"
    rows, columns = blocks_over(layer.S, block), blocks_over(layer.K, block)
    sides, padded = f"{layer.S} x {layer.K}", f"{rows * block} x {columns * block}"
    if sides != padded and config.indivisible != "pad":
        return alone, f"blocks of {block} do not divide {sides}"
    if columns <= config.min_blocks:
        blocks = "one block" if columns == 1 else f"{columns} blocks"
        stay = "stays" if columns == 1 else "stay"
        return alone, f"each block-row has {blocks} of {block}, which {stay}"
    return "hybrid", "" if sides == padded else f"{sides} padded to {padded}"


_FORMS: dict[MethodName, Form] = {
    "crisp": "hybrid",
    "blocks": "hybrid",
    "nm": "nm",
    "unstructured": "unstructured",
    "channel": "channel",
    "ocap": "channel",
    "capnn": "channel",
    "dense": "dense",
}


def column_weights(layer: Layer, config: PruneConfig) -> int:
    """Weights that one rank column of ``layer`` holds after N:M pruning, S * B * N/M; fewer where
    it has some of the narrower blocks at the edge of a padded layer.
    """
    return layer.S * config.block * config.nm.n // config.nm.m


def counted_weights(plan: Plan, config: PruneConfig) -> int:
    """The weights that ``config.sparsity`` is a share of."""
    layers = plan.prunable
    if config.target == "all":
        layers = tuple(entry.layer for entry in plan.layers)
    return sum(layer.weights for layer in layers)


def pattern_zeros(plan: Plan, config: PruneConfig) -> int:
    """Zeros that the N:M pattern alone makes."""
    nm = config.nm
    return sum(layer.weights - layer.weights * nm.n // nm.m for layer in plan.prunable)


def _check_reachable(plan: Plan, config: PruneConfig) -> None:
    """Refuse a sparsity that the pattern, the collapse guards or dense layers put out of reach."""
    weights = counted_weights(plan, config)
    zeros = weights_to_prune(as_fraction(config.sparsity), weights)
    least_zeros = pattern_zeros(plan, config)
    if config.target == "all" and zeros < least_zeros:
        floor = math.ceil(least_zeros / weights * 1000) / 1000
        raise InputError(
            "prune",
            "sparsity",
            config.sparsity,
            f"{config.nm} alone prunes {least_zeros / weights:.3f} of all weights, so expected at"
            f" least {floor:.3f}",
        )
    most_zeros = sum(layer.weights for layer in plan.prunable)
    most_zeros -= sum(_least(entry, config) for entry in plan.layers)
    if config.method == "nm":
        most_zeros = zeros
    if zeros > most_zeros:
        # Rounded down, so that the value named here is itself accepted.
        most = int(most_zeros / weights * 1000) / 1000
        raise InputError(
            "prune",
            "sparsity",
            config.sparsity,
            f"{_guard(config)}, the most is {most:.3f}",
        )


def _least(entry: LayerPlan, config: PruneConfig) -> int:
    """The weights that a layer keeps at least.

    In a padded layer, that is when the last, narrower block of every block-row is among those
    kept. Where scores want others,
    :func:`~crisp_loop.prune.patterns.blocks.choose_columns` may find that it cannot remove as many
    weights as this promises.
    """
    layer = entry.layer
    padding = layer.S * (-layer.K % config.block) * config.nm.n // config.nm.m
    return {
        "hybrid": column_weights(layer, config) * config.min_blocks - padding,
        "nm": layer.weights * config.nm.n // config.nm.m,
        "unstructured": 1,
        "channel": layer.K,
        "dense": 0,
    }[entry.form]


def _guard(config: PruneConfig) -> str:
    if _FORMS[config.method] == "hybrid":
        blocks = "one" if config.min_blocks == 1 else str(config.min_blocks)
        return (
            f"with blocks of {config.block}, {blocks} kept in each block-row, and N:M alone where"
            f" blocks do not fit"
        )
    what = "weight" if config.method == "unstructured" else "channel"
    return f"with one {what} kept in each layer"
