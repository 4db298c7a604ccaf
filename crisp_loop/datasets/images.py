"""From stored bytes to the tensors of a :class:`~crisp_loop.datasets.split.Dataset`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.datasets.split import Split

MEMORY_LIMIT = 8 * 2**30
"""Bytes that the float32 images of one data set may take; data sets live in memory."""

Bytes = tuple[np.ndarray, np.ndarray]
"""uint8 images (samples, C, H, W) and int64 labels (samples,)."""


def check_memory(where: Path | str, samples: int, shape: tuple[int, ...]) -> None:
    """Refuse, before anything is decoded, what would not fit in memory."""
    needed = samples * int(np.prod(shape)) * 4
    if needed > MEMORY_LIMIT:
        size = "x".join(map(str, shape))
        raise CrispLoopError(
            f"{where} holds {samples} images, which take {needed / 2**30:.1f} GiB at {size};"
            f" expected at most {MEMORY_LIMIT / 2**30:g} GiB, so leave out classes or images."
        )


def normalised(train: Bytes, *others: Bytes) -> list[Split]:
    """All parts scaled to mean 0 and deviation 1 of each channel of ``train``."""
    counts = _histograms(train[0])
    levels = np.arange(256) / 255
    samples = counts.sum(axis=1)
    mean = counts @ levels / samples
    deviation = np.sqrt(np.maximum(counts @ levels**2 / samples - mean**2, 0))
    deviation[deviation < 1e-6] = 1  # a channel of one level only
    return [_scaled(part, mean, deviation) for part in (train, *others)]


def _histograms(images: np.ndarray) -> np.ndarray:
    """How often each of the 256 levels occurs in each channel: sums without rounding."""
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for start in range(0, len(images), 256):  # bincount works on copies of 8 bytes a value
        for channel, row in enumerate(counts):
            row += np.bincount(images[start : start + 256, channel].ravel(), minlength=256)
    return counts


def _scaled(part: Bytes, mean: np.ndarray, deviation: np.ndarray) -> Split:
    images = torch.from_numpy(part[0]).to(torch.float32)
    by_channel = (1, -1, 1, 1)
    images.div_(255).sub_(torch.from_numpy(mean).float().reshape(by_channel))
    images.div_(torch.from_numpy(deviation).float().reshape(by_channel))
    return Split(images, torch.from_numpy(part[1].astype(np.int64)))


def stamp(parts: Iterable[tuple[object, ...]]) -> str:
    """Short hash of what tells one state of a data set's files from another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()[:16]
