"""State of unfinished work on disk, so that a killed run goes on to the same result."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from crisp_loop.core.files import replacing

_FORMAT = "crisp_loop.checkpoint"


@dataclass(frozen=True)
class Snapshot:
    """Where some work stands."""

    position: dict[str, Any]
    """What JSON can hold: how far it is, and what it reported."""
    tensors: Mapping[str, Tensor]
    """Weights, masks, optimizer and generator state."""


@dataclass
class Checkpoint:
    """One file that holds the last snapshot of one piece of work."""

    path: Path
    key: str
    """Hash of all that the work depends on: a file with another key is not used."""
    every: float = 0.0
    """Seconds that pass at least between two writes; work that is lost is done again."""
    _written: float = field(default_factory=time.monotonic, init=False)

    def load(self) -> Snapshot | None:
        """The last snapshot; None without one, or if it is damaged or of other work."""
        try:
            with safe_open(self.path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get(_FORMAT, "{}"))
                if header["key"] != self.key or not isinstance(header["position"], dict):
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return Snapshot(header["position"], tensors)

    def save(self, snapshot: Snapshot) -> None:
        """Write ``snapshot`` in place of the last one, unless that is too young."""
        if time.monotonic() - self._written < self.every:
            return
        header = json.dumps({"key": self.key, "position": snapshot.position})
        tensors = {name: value.detach().contiguous() for name, value in snapshot.tensors.items()}
        with replacing(self.path) as temporary:
            save_file(tensors, temporary, {_FORMAT: header})
        self._written = time.monotonic()

    def remove(self) -> None:
        """The work is done."""
        self.path.unlink(missing_ok=True)


def generator_states(batches: object) -> dict[str, Tensor]:
    """The state of every random generator that training draws from.

    Args:
        batches: Its attribute ``generator``, if it is torch's, is one of them.
    """
    states = {"rng.global": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["rng.cuda"] = torch.cuda.get_rng_state()
    own = getattr(batches, "generator", None)
    if isinstance(own, torch.Generator):
        states["rng.batches"] = own.get_state()
    return states


def restore_generators(states: Mapping[str, Tensor], batches: object) -> None:
    """Put back what :func:`generator_states` returned."""
    torch.set_rng_state(states["rng.global"])
    if "rng.cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["rng.cuda"])
    own = getattr(batches, "generator", None)
    if isinstance(own, torch.Generator) and "rng.batches" in states:
        own.set_state(states["rng.batches"])


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix`` and a dot, without it."""
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }
