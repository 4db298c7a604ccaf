"""Labelled images, stratified splits, and subsets of a user's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crisp_loop.core.errors import InputError


@dataclass(frozen=True)
class Split:
    """Images with their labels."""

    images: Tensor
    """float32, (samples, C, H, W)."""
    labels: Tensor
    """int64, (samples,): class ids of the whole data set, also in a subset of classes."""

    def __post_init__(self) -> None:
        shapes = (tuple(self.images.shape), tuple(self.labels.shape))
        if self.images.ndim != 4 or shapes[1] != shapes[0][:1]:
            raise InputError("data", "", shapes, "expected images (N, C, H, W) and labels (N,)")
        if self.images.dtype != torch.float32 or self.labels.dtype != torch.int64:
            found = (str(self.images.dtype), str(self.labels.dtype))
            raise InputError("data", "", found, "expected float32 images and int64 labels")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> Split:
        """The samples ``rows`` (int64), in that order."""
        return Split(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class Dataset:
    """A data set in three parts that share no sample."""

    name: str
    classes: tuple[str, ...]
    """Names of the classes; a class id is a position in here."""
    train: Split
    val: Split
    """For choosing settings."""
    test: Split
    """For the figures that are reported, and nothing else."""
    stamp: str = ""
    """Tells one state of the files that it was read from another; empty if it ships."""


def stratified_rows(
    labels: np.ndarray, shares: Sequence[float], seed: int
) -> tuple[np.ndarray, ...]:
    """Rows of ``labels``, ascending, for parts that each hold the given share of every class.

    Args:
        labels: Class ids.
        shares: Share of each part, which add up to 1. Counts are rounded class by class.
        seed: Decides which sample goes where; the same seed gives the same parts.
    """
    generator = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    bounds = np.cumsum(shares)[:-1]
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        cuts = [round(bound * len(rows)) for bound in bounds]
        for part, chosen in zip(parts, np.split(rows, cuts), strict=True):
            part.append(chosen)
    return tuple(np.sort(np.concatenate(part)).astype(np.int64) for part in parts)


def stratified(data: Split, shares: Sequence[float], seed: int) -> tuple[Split, ...]:
    """``data`` in the parts of :func:`stratified_rows`."""
    parts = stratified_rows(data.labels.numpy(), shares, seed)
    return tuple(data.take(torch.from_numpy(rows)) for rows in parts)


def check_classes(classes: Sequence[int], dataset: Dataset) -> tuple[int, ...]:
    """``classes`` if each is a class id of ``dataset`` and stands there once.

    Raises:
        InputError: an empty list, an id out of range, or one given twice.
    """
    last = len(dataset.classes) - 1
    expected = f"the class ids of {dataset.name} are 0 to {last}"
    if not classes:
        raise InputError("user classes", "", list(classes), f"expected one or more; {expected}")
    for position, label in enumerate(classes):
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label <= last:
            raise InputError("user classes", "", label, expected)
        if label in classes[:position]:
            raise InputError("user classes", "", label, "expected each class id once")
    return tuple(classes)


def user_samples(
    data: Split, classes: Sequence[int], per_class: int | None = None, seed: int = 0
) -> Split:
    """The samples of the user's classes, at most ``per_class`` of each.

    Args:
        data: Where to draw from.
        classes: Class ids; the labels stay as they are.
        per_class: Samples a class; all of them when None or when there are fewer.
        seed: Decides which samples are drawn; the draw of one class does not depend on
            which other classes are asked for.

    Raises:
        InputError: a class without samples, or a ``per_class`` below one.
    """
    if per_class is not None and per_class < 1:
        raise InputError("samples per class", "", per_class, "expected at least 1")
    drawn: list[Tensor] = []
    for label in classes:
        rows = torch.nonzero(data.labels == label).flatten()
        if len(rows) == 0:
            held = ", ".join(str(int(other)) for other in data.labels.unique())
            raise InputError(
                "user classes", "", label, f"the data holds no sample of it, only of {held}"
            )
        order = np.random.default_rng([seed, label]).permutation(len(rows))[:per_class]
        drawn.append(rows[torch.from_numpy(np.sort(order))])
    return data.take(torch.cat(drawn).sort().values)
