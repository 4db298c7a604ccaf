"""Batches of samples: from tensors with a seeded shuffle, or from the caller's own loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.datasets.split import Split


@runtime_checkable
class Batches(Protocol):
    """Something that yields (images, labels) batches, anew at each iteration over it.

    A torch DataLoader is one.
    """

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch."""
        ...

    def __len__(self) -> int:
        """Batches an epoch."""
        ...


class TensorBatches:
    """Shuffled batches of tensors.

    Sizes differ by at most one, because a last batch of one sample breaks batch norm.

    Args:
        images: float, (samples, ...): inputs of any shape.
        labels: int64, (samples,).
        batch_size: Samples a batch, at most.
        seed: Of the shuffle. torch's global generator is not used.
    """

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int, seed: int) -> None:
        if len(images) != len(labels):
            raise CrispLoopError(
                f"The data for pruning has {len(images)} inputs but {len(labels)} labels."
            )
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.labels), generator=self.generator)
        for rows in order.tensor_split(len(self)):
            yield self.images[rows], self.labels[rows]


def as_batches(
    data: Batches | Split | tuple[Tensor, Tensor], batch_size: int, seed: int
) -> Batches:
    """``data`` as batches: tensors are shuffled with ``seed``, a loader is taken as it is.

    Raises:
        CrispLoopError: no samples, or something that cannot be gone through again and again.
    """
    if isinstance(data, Split):
        data = (data.images, data.labels)
    if isinstance(data, tuple) and len(data) == 2:
        data = TensorBatches(*data, batch_size, seed)
    if isinstance(data, tuple) or not isinstance(data, Batches):
        raise CrispLoopError(
            f"A {type(data).__name__} cannot be gone through repeatedly; expected a DataLoader, a"
            f" Split, or a pair of tensors (images, labels)."
        )
    if len(data) == 0:
        raise CrispLoopError("The data for pruning holds no samples.")
    return data
