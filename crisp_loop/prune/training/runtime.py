"""Where the arithmetic runs, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crisp_loop.core.errors import InputError
from crisp_loop.prune.batches import Batches
from crisp_loop.prune.config import PruneConfig

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """A device, and the precision of training on it.

    Weights, gradients, optimizer state and all scoring stay float32 (scores float64); with
    mixed precision, torch's autocast runs the layers of *training* in the smaller type.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    """Of the layers in training: float32, bfloat16 or float16."""

    @property
    def name(self) -> str:
        """Such as ``cpu, float32``."""
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return f"{device}, {str(self.dtype).removeprefix('torch.')}"

    @property
    def mixed(self) -> bool:
        """Whether training uses mixed precision."""
        return self.dtype != torch.float32

    @property
    def layout(self) -> torch.memory_format:
        """Of images: with mixed precision, channels last is up to twice as fast."""
        return torch.channels_last if self.mixed else torch.contiguous_format

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision inside the block, if there is any."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.mixed)

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps float16's small gradients from becoming 0; does nothing in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def place(self, tensor: Tensor) -> Tensor:
        """A batch of images or labels where the model is."""
        if tensor.ndim == 4:
            return tensor.to(self.device, non_blocking=True, memory_format=self.layout)
        return tensor.to(self.device, non_blocking=True)


def chosen_runtime(config: PruneConfig) -> Runtime:
    """What ``config.device`` and ``config.precision`` mean on this machine.

    Raises:
        InputError: CUDA is asked for, but torch finds none.
    """
    kind = config.device
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "prune",
            "device",
            "cuda",
            f"torch {torch.__version__} finds no CUDA device here; expected auto or cpu",
        )
    return runtime_on(torch.device(kind), config)


def runtime_of(model: nn.Module, config: PruneConfig) -> Runtime:
    """The runtime for a model that stays where its owner has put it."""
    first = next(model.parameters(), None)
    return runtime_on(torch.device("cpu") if first is None else first.device, config)


def runtime_on(device: torch.device, config: PruneConfig) -> Runtime:
    """The runtime on ``device`` with the precision of ``config``."""
    precision = config.precision
    if precision == "auto":
        precision = "float32"
        if device.type == "cuda" and torch.cuda.is_bf16_supported():
            precision = "bfloat16"
    return Runtime(device, _DTYPES[precision])


@contextmanager
def seeded(config: PruneConfig) -> Iterator[None]:
    """Seed and threads of ``config`` inside the block; both are put back afterwards.

    A phase under it gives the same result whether the phases before it ran or were reused.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            yield
    finally:
        torch.set_num_threads(threads)


class PlacedBatches:
    """Batches that arrive where the model is."""

    def __init__(self, batches: Batches, runtime: Runtime) -> None:
        self._batches = batches
        self._runtime = runtime
        # Scoring puts a generator of the batches back to where it was.
        self.generator = getattr(batches, "generator", None)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self._batches:
            yield self._runtime.place(images), self._runtime.place(labels)
