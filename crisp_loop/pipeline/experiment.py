"""The experiment: everything that decides a run's results, in one YAML file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from crisp_loop.accelerators import load_accelerator
from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import read_yaml, sha256, validated
from crisp_loop.cost.engine import AUTO, ENGINES, EXACT
from crisp_loop.datasets.registry import parse
from crisp_loop.mapping.mappers import DEFAULT_MAPPER, DEFAULT_SECONDS, MAPPERS
from crisp_loop.mapping.objective import DEFAULT_OBJECTIVE, OBJECTIVES
from crisp_loop.mapping.run import MapRequest
from crisp_loop.networks.registry import NETWORKS
from crisp_loop.pipeline.designs import fitting_changes, with_baseline
from crisp_loop.prune.config import PruneConfig, decided_by

PRUNE, DRAW = "prune", "draw"


class Experiment(BaseModel):
    """One experiment. Every field has a default; the defaults are the digits experiment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]*)?$", max_length=100)] = ""
    """Results go to ``runs/<name>``; without one, the name tells network and pattern."""
    network: str = "digits-resnet"
    """A network's name (``crisp-loop layers`` lists them)."""
    masks: str = ""
    """``prune``: train on ``data`` and prune with CRISP. ``draw``: random masks at the pattern,
    for networks whose weights are not at hand. Else the path of a mask file. Without a value,
    ``prune`` where the network has a data set at hand or ``data`` or ``weights`` is given, else
    ``draw``."""
    data: str = "digits"
    """Data set to train and prune on: ``digits``, ``cifar10:PATH``, ``cifar100:PATH``, or
    ``folder:PATH`` (one folder a class, or a .zip). Paths start in the current directory."""
    weights: str = ""
    """Trained dense weights of ``network`` (.safetensors or .pth) instead of a training."""
    resize_head: bool = False
    """Where ``weights`` have another number of classes than ``data``: start a new head and train
    the network from there."""
    user_classes: tuple[int, ...] = (1, 4, 7)
    """The classes that the user sees; pruning keeps what they need."""
    prune: PruneConfig = PruneConfig()
    """Pattern, sparsity, and how the network is trained, scored and fine-tuned."""
    accelerators: tuple[str, ...] = ("dense", "nvidia-stc", "dstc", "crisp-stc")
    """Designs to compare: names of ``arch/*.yaml``, or paths of your own."""
    arch: dict[str, Any] = {}
    """Fields of the designs to change: ``SMEM.read_bandwidth: 42`` in all of them, the baseline
    included, ``dstc/SMEM.read_bandwidth: 42`` in one."""
    batch: Annotated[int, Field(ge=1)] = 1
    """Inputs at once: each layer has that many times the columns."""
    columns: Annotated[int, Field(ge=1)] = 1
    """Pads N of every GEMM to a multiple of this, for studies."""
    profile: dict[str, Annotated[float, Field(ge=0, lt=1)]] = {}
    """With ``masks: draw``: sparsity of single layers, wildcards allowed, in place of
    ``prune.sparsity``."""
    activation_density: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Share of non-zero activations, for designs that skip zeros in them."""
    objective: str = DEFAULT_OBJECTIVE
    """What mappings minimise: ``cycles-energy`` (fewest cycles, within 1 % of them least energy),
    ``cycles``, ``energy`` or ``edp``."""
    mapper: str = DEFAULT_MAPPER
    """Who searches mappings: ``analytic`` (exact, by branch and bound), or ``timeloop`` for the
    native timeloop-mapper."""
    mapper_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = DEFAULT_SECONDS
    """Time that ``timeloop`` has for a GEMM and design."""
    engine: str = AUTO
    """What prices the specs: ``analytic``, ``analytic-exact``, ``timeloop``, or ``auto``."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_depend(cls, data: Any) -> Any:
        """Fill in ``masks`` from what the rest says."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        shipped = data.get("network", "digits-resnet") == "digits-resnet"
        given = data.get("data", "digits") != "digits" or data.get("weights", "") != ""
        data.setdefault("masks", PRUNE if shipped or given else DRAW)
        return data

    @property
    def mapping(self) -> MapRequest:
        """How mappings are found."""
        exact = self.engine == EXACT
        return MapRequest(self.objective, self.mapper, self.mapper_seconds, exact=exact)

    @property
    def run_name(self) -> str:
        """Name of the results directory."""
        prune, kappa = self.prune, round(100 * self.prune.sparsity, 4)
        pattern = f"{prune.nm.n}of{prune.nm.m}-b{prune.block}-s{kappa:g}"
        kind = "" if self.data == "digits" else parse(self.data)[0]
        method = "" if prune.method == "crisp" else prune.method
        mode = "" if prune.mode == "iterative" else prune.mode
        setting = self.model_dump(
            mode="json", include={"arch", "batch", "columns", "profile"}, exclude_defaults=True
        )
        variant = sha256(json.dumps(setting, sort_keys=True))[:6] if setting else ""
        parts = (self.network, kind, method, mode, pattern, variant)
        return self.name or "-".join(part for part in parts if part)

    @field_validator("network")
    @classmethod
    def _network_is_known(cls, network: str) -> str:
        return _one_of(network, NETWORKS, "network")

    @field_validator("data")
    @classmethod
    def _data_is_known(cls, data: str) -> str:
        try:
            parse(data)
        except InputError as error:
            raise ValueError(error.expected) from None
        return data

    @field_validator("weights")
    @classmethod
    def _weights_are_used(cls, weights: str, info: ValidationInfo) -> str:
        if weights and info.data.get("masks", PRUNE) != PRUNE:
            raise ValueError("weights are read with masks: prune only")
        return weights

    @field_validator("prune")
    @classmethod
    def _drawn_as_crisp(cls, prune: PruneConfig, info: ValidationInfo) -> PruneConfig:
        if info.data.get("masks") == DRAW and prune.method != "crisp":
            raise ValueError("masks: draw draws the pattern of method: crisp")
        return prune

    @field_validator("profile")
    @classmethod
    def _profile_is_drawn(cls, profile: dict[str, float], info: ValidationInfo) -> Any:
        if profile and info.data.get("masks") != DRAW:
            raise ValueError("a profile needs masks: draw; pruning finds its own")
        return profile

    @field_validator("objective")
    @classmethod
    def _objective_is_known(cls, objective: str) -> str:
        return _one_of(objective, OBJECTIVES, "objective")

    @field_validator("mapper")
    @classmethod
    def _mapper_is_known(cls, mapper: str) -> str:
        return _one_of(mapper, MAPPERS, "mapper")

    @field_validator("engine")
    @classmethod
    def _engine_is_known(cls, engine: str) -> str:
        return _one_of(engine, (AUTO, *ENGINES), "engine")

    @field_validator("accelerators")
    @classmethod
    def _accelerators_are_known(cls, accelerators: tuple[str, ...]) -> tuple[str, ...]:
        if not accelerators:
            raise ValueError("expected at least one accelerator")
        for name in accelerators:
            try:
                load_accelerator(name)
            except CrispLoopError as error:
                raise ValueError(str(error)) from None
        return tuple(dict.fromkeys(accelerators))

    @field_validator("arch")
    @classmethod
    def _changes_fit(cls, arch: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return fitting_changes(arch, with_baseline(info.data.get("accelerators", ())))


def load_experiment(path: Path | None, overrides: dict[str, Any] | None = None) -> Experiment:
    """The experiment in ``path`` (the default one if None) with ``overrides`` on top.

    Raises:
        CrispLoopError: no such file, not YAML, an unknown key (the known ones are named), or a
            value that cannot be used.
    """
    return experiment_of(experiment_data(path), overrides or {}, path or "command line")


def experiment_data(path: Path | None) -> dict[str, Any]:
    """What the file says, its fields not yet checked; nothing without a file.

    Raises:
        CrispLoopError: no such file, or not a YAML mapping.
    """
    if path is None:
        return {}
    data = read_yaml(path, "experiment file")
    if not isinstance(data, dict):
        raise CrispLoopError(
            f"{path} holds no experiment; expected keys such as network, prune, accelerators."
        )
    return data


def experiment_of(data: dict[str, Any], overrides: dict[str, Any], where: Path | str) -> Experiment:
    """The experiment that ``data`` says, with ``overrides`` on top, section by section.

    Args:
        data: An experiment file's content.
        overrides: The same form.
        where: The file, for messages.

    Raises:
        CrispLoopError: an unknown key, or a value that cannot be used.
    """
    if isinstance(section := data.get("prune"), dict):
        # A method on the command line takes what the file says for another one with it.
        method = (overrides.get("prune") or {}).get("method", section.get("method", "crisp"))
        if method != section.get("method", "crisp"):
            decided = decided_by(method)
            kept = {key: value for key, value in section.items() if key not in decided}
            data = {**data, "prune": kept}
    return validated(_over(data, overrides), Experiment, where)


def _over(data: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """``overrides`` on top of ``data``, section by section."""
    merged = dict(data)
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _over(below, value)
        merged[key] = value
    return merged


def _one_of(value: str, known: Any, what: str) -> str:
    if value not in known:
        raise ValueError(f"the known {what}s are {', '.join(known)}")
    return value
