"""Which layers are pruned, and how."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.layers import HEAD, STEM, Layer, LayerTable, roles, unfit
from crisp_loop.core.pattern import as_fraction
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.schedule import weights_to_prune

Form = Literal["hybrid", "nm", "dense"]


@dataclass(frozen=True)
class LayerPlan:
    """What happens to one layer."""

    layer: Layer
    form: Form
    """``hybrid``: N:M inside blocks; ``nm``: N:M alone; ``dense``: left alone."""
    reason: str
    """Why it is not hybrid; empty if it is."""


@dataclass(frozen=True)
class Plan:
    """What happens to every layer of a network, in execution order."""

    layers: tuple[LayerPlan, ...]

    def of_form(self, *forms: Form) -> tuple[Layer, ...]:
        """The layers with one of ``forms``."""
        return tuple(entry.layer for entry in self.layers if entry.form in forms)

    @property
    def prunable(self) -> tuple[Layer, ...]:
        """The layers whose weights the target sparsity counts: hybrid and N:M ones."""
        return self.of_form("hybrid", "nm")


def plan_layers(table: LayerTable, config: PruneConfig) -> Plan:
    """Decide for every layer of ``table``.

    Dense are: the stem (first layer that runs, if a convolution) and the head (last one, if
    linear) unless asked; grouped and depthwise convolutions; layers whose input channels M does
    not divide; what ``exclude`` names. N:M only are layers with a side that B does not divide.

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
    if not plan.prunable:
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
    if layer.S % block or layer.K % block:
        return "nm", f"blocks of {block} do not divide {layer.S} x {layer.K}"
    if block == layer.K:
        return "nm", f"each block-row has one block of {block}, which stays"
    return "hybrid", ""


def column_weights(layer: Layer, config: PruneConfig) -> int:
    """Weights that one rank column of ``layer`` holds after N:M pruning: S * B * N/M."""
    return layer.S * config.block * config.nm.n // config.nm.m


def _check_reachable(plan: Plan, config: PruneConfig) -> None:
    """Refuse a sparsity that the collapse guard and the N:M-only layers put out of reach."""
    weights = sum(layer.weights for layer in plan.prunable)
    least = 0
    for layer in plan.of_form("nm"):
        least += layer.weights * config.nm.n // config.nm.m
    for layer in plan.of_form("hybrid"):
        least += column_weights(layer, config)
    if weights_to_prune(as_fraction(config.sparsity), weights) > weights - least:
        # Rounded down, so that the value named here is itself accepted.
        most = int((1 - least / weights) * 1000) / 1000
        raise InputError(
            "prune",
            "sparsity",
            config.sparsity,
            f"with blocks of {config.block}, one kept in each block-row, and N:M alone where"
            f" blocks do not fit, the most is {most:.3f}",
        )
