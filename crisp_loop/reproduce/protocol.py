"""What a scale means: networks, data, training and the ranges that the figures vary.

The figures' own modules say which of these they combine, and with which methods.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import is_directory, is_file
from crisp_loop.core.pattern import as_fraction
from crisp_loop.datasets.registry import parse
from crisp_loop.networks.registry import network
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.plan import plan_layers
from crisp_loop.reproduce.points import Point
from crisp_loop.reproduce.scale import Scale, ScaleName
from crisp_loop.reproduce.sweep import sources_stamp

PHASES = ("ste_epochs", "iteration_epochs", "final_epochs")
WEIGHT_ENDINGS = (".pth", ".pt", ".safetensors")


class Protocol(BaseModel):
    """Everything that the accuracy figures share at one scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: ScaleName
    networks: tuple[str, ...]
    """Those that Figs. 1, 2 and 7 compare; Fig. 3 takes the first."""
    data: str = ""
    weights: dict[str, str] = {}
    """Of each network; empty where they are trained."""
    resize_head: bool = False
    seeds: int
    """Runs of each point. A run has its own split of the data, training, draw of user classes,
    samples and shuffle."""
    prune: dict[str, Any]
    """Options of all methods."""
    user_classes: int
    """How many classes a user meets in Figs. 1 to 3."""
    class_counts: tuple[int, ...]
    """How many in Fig. 7; those that the data does not have are left out."""
    worth: int = 1
    """How many classes' worth of steps a training has at least: a user of fewer classes, and so of
    fewer samples, gets as many times more epochs. 1 leaves the epochs as they are."""
    blocks: tuple[int, ...]
    sparsities: tuple[float, ...]
    """kappa's of Fig. 3."""
    patterns: tuple[str, ...]
    """N:M of Fig. 1."""
    kappa: float = 0.9
    """Of Fig. 2."""
    kappas: tuple[float, float] = (0.95, 0.85)
    """Of Fig. 7, for one class and for all of them; where the pattern cannot reach that, as much
    as it can (:func:`within_reach`)."""

    def point(self, name: str, run: int, user_classes: int | None = None, **options: Any) -> Point:
        """The point of the network ``name`` in one run, with ``options`` over the shared ones."""
        count = user_classes or self.user_classes
        config = PruneConfig.model_validate(self.prune | options | {"seed": run})
        times = max(1, -(-self.worth // count))
        epochs = {phase: getattr(config, phase) * times for phase in PHASES}
        config = config.model_copy(update=epochs)
        return Point(
            network=name,
            data=self.data,
            user_classes=count,
            draw=run,
            config=config,
            weights=self.weights.get(name, ""),
            resize_head=self.resize_head,
        )

    def kappa_for(self, user_classes: int, classes: int) -> float:
        """kappa of Fig. 7: it falls with the logarithm of how many of the classes a user meets.

        The paper varies kappa with the number of classes and does not say how.
        """
        first, last = self.kappas
        share = math.log(user_classes) / math.log(classes)
        return round(first + (last - first) * share, 3)


def within_reach(point: Point) -> Point:
    """``point`` with its kappa lowered, by steps of 0.01, until the pattern can reach it.

    Small networks keep more: every block-row keeps a block, and layers without blocks N:M alone.

    Raises:
        InputError: no kappa at or above 1 - N/M is within reach.
    """
    table, config = layer_table(point.network), point.config
    while True:
        try:
            plan_layers(table, config)
            return point.model_copy(update={"config": config})
        except InputError as error:
            lower = round(config.sparsity - 0.01, 4)
            if error.field != "sparsity" or as_fraction(lower) < 1 - config.nm.density:
                raise
        config = config.model_copy(update={"sparsity": lower})


_CI = Protocol(
    scale="ci",
    networks=("digits-resnet", "digits-vgg", "digits-mobilenet"),
    data="digits",
    seeds=3,
    prune={
        "samples_per_class": 20,
        "train_epochs": 10,
        "iterations": 2,
        "ste_epochs": 2,
        "iteration_epochs": 2,
        "final_epochs": 8,
    },
    user_classes=5,
    class_counts=(1, 3, 10),
    worth=5,
    blocks=(16, 32),
    sparsities=(0.8, 0.9, 0.95),
    patterns=("3:4", "2:4", "1:4", "1:8", "1:16"),
)
_MID = _CI.model_copy(
    update={
        "scale": "mid",
        "networks": ("resnet20",),
        "data": "",
        "prune": {
            "samples_per_class": 128,
            "train_epochs": 12,
            "train_lr": 0.05,
            "iterations": 2,
            "ste_epochs": 2,
            "iteration_epochs": 2,
            "final_epochs": 8,
            "augment": "flip_shift",
            "precision": "bfloat16",
        },
        "user_classes": 3,
        "worth": 3,
        "class_counts": (1, 2, 3, 5, 10, 20, 50, 100),
        "patterns": ("3:4", "2:4", "1:4", "1:8", "1:16"),
    }
)
_FULL = Protocol(
    scale="full",
    networks=("resnet50", "vgg16", "mobilenetv2"),
    seeds=5,
    # Sec. IV-A: 50 epochs, 0.1, 32, 0.9, 4e-5, 256; how the epochs are shared between iterations
    # is not said. The dense training is that of a new head, if there is one.
    prune={
        "train_epochs": 5,
        "train_lr": 0.01,
        "samples_per_class": 256,
        "iterations": 3,
        "ste_epochs": 6,
        "iteration_epochs": 6,
        "final_epochs": 14,
        "lr": 0.1,
        "batch_size": 32,
        "momentum": 0.9,
        "weight_decay": 4e-5,
        "indivisible": "pad",
    },
    user_classes=10,
    class_counts=(1, 5, 10, 20, 50, 100, 200, 500, 1000),
    blocks=(16, 32, 64),
    sparsities=(0.8, 0.85, 0.9, 0.92, 0.95),
    patterns=("3:4", "2:4", "1:4"),
)
_PROTOCOLS = {protocol.scale: protocol for protocol in (_CI, _MID, _FULL)}


def protocol_of(scale: Scale) -> Protocol:
    """The protocol of a scale, with what the user chose on top; no data is read.

    Raises:
        CrispLoopError: a network that is unknown, or data or weights that are missing.
    """
    known = _PROTOCOLS[scale.name]
    for name in scale.networks:
        network(name)
    networks = scale.networks or known.networks
    data = scale.data or known.data
    if not data:
        raise CrispLoopError(
            f"--scale {scale.name} needs --data; expected cifar10:PATH, cifar100:PATH or"
            f" folder:PATH."
        )
    parse(data)
    weights = {name: _weights(Path(scale.weights).expanduser(), name, networks)
               for name in networks} if scale.weights else {}  # fmt: skip
    if scale.name == "full" and not weights:
        raise CrispLoopError(
            "--scale full needs --weights; expected a directory that holds a NETWORK.pth or"
            " NETWORK.safetensors for each network, or a file for one."
        )
    return known.model_copy(
        update={
            "networks": networks,
            "data": data,
            "weights": weights,
            "resize_head": scale.resize_head,
            "seeds": scale.seeds or known.seeds,
        }
    )


def settings_of(scale: Scale) -> dict[str, Any]:
    """The protocol, and the state of the files that it reads, for a figure's ``settings``.

    Raises:
        CrispLoopError: as :func:`protocol_of`; or files that do not exist.
    """
    protocol = protocol_of(scale)
    sources = [(protocol.data, protocol.weights.get(name, "")) for name in protocol.networks]
    stamps = [sources_stamp(*source) for source in sorted(set(sources))]
    return {**protocol.model_dump(mode="json"), "stamps": stamps}


def _weights(path: Path, name: str, networks: tuple[str, ...]) -> str:
    """The weights of a network: ``path`` itself, or the file in it that is named after it."""
    if is_directory(path):
        for file in (path / f"{name}{ending}" for ending in WEIGHT_ENDINGS):
            if is_file(file):
                return str(file)
        names = ", ".join(f"{name}{ending}" for ending in WEIGHT_ENDINGS)
        raise InputError("--weights", "", str(path), f"it holds none of {names}")
    if not is_file(path):
        raise InputError("--weights", "", str(path), "expected a file, or a directory of them")
    if len(networks) > 1:
        what = f"one file has the weights of one network, not of {', '.join(networks)}"
        raise InputError("--weights", "", str(path), f"{what}; name it with --model")
    return str(path)
