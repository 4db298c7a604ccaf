"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) in their python-pickle layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crisp_loop.core.errors import CrispLoopError, shown
from crisp_loop.core.files import is_directory, is_file
from crisp_loop.datasets.images import Bytes, normalised, stamp
from crisp_loop.datasets.pickles import read_batch, texts
from crisp_loop.datasets.split import Dataset, stratified_rows

VALIDATION = 0.1
"""Share of the training images that is held out for validation."""
SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Layout:
    """Where one of the two data sets keeps what."""

    folder: str
    """Its folder's usual name."""
    train: tuple[str, ...]
    test: str
    labels: str
    """Key of the labels."""
    meta: str
    """File of the class names, which may be missing."""
    names: str
    """Key of the class names."""
    classes: int


CIFAR10 = Layout(
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    labels="labels",
    meta="batches.meta",
    names="label_names",
    classes=10,
)
CIFAR100 = Layout(
    folder="cifar-100-python",
    train=("train",),
    test="test",
    labels="fine_labels",
    meta="meta",
    names="fine_label_names",
    classes=100,
)


def cifar(layout: Layout, path: Path, name: str, seed: int = 0) -> Dataset:
    """CIFAR in ``path``: its test images as they are, a tenth of the others for validation.

    Args:
        layout: Which of the two.
        path: The unpacked folder, or the one around it.
        name: Of the data set.
        seed: Of the stratified split into training and validation.

    Raises:
        CrispLoopError: files that are missing, damaged, or no CIFAR.
    """
    path, files = _files(layout, path)
    batches = [_batch(file, layout) for file in files]
    images = np.concatenate([batch[0] for batch in batches[:-1]])
    labels = np.concatenate([batch[1] for batch in batches[:-1]])
    rows, held_out = stratified_rows(labels, (1 - VALIDATION, VALIDATION), seed)
    train, val, test = normalised(
        (images[rows], labels[rows]), (images[held_out], labels[held_out]), batches[-1]
    )
    return Dataset(name, _names(path, layout), train, val, test, cifar_stamp(layout, path))


def cifar_stamp(layout: Layout, path: Path) -> str:
    """What tells one state of the files from another."""
    states = [(file.name, file.stat()) for file in _files(layout, path)[1] if is_file(file)]
    return stamp((name, state.st_size, state.st_mtime_ns) for name, state in states)


def _files(layout: Layout, path: Path) -> tuple[Path, list[Path]]:
    """The folder that holds the batches, and the batches, the test batch last."""
    if not is_directory(path):
        what = "is a file" if is_file(path) else "does not exist"
        raise CrispLoopError(f"{path} {what}; expected the unpacked folder {layout.folder}.")
    if is_directory(path / layout.folder):
        path = path / layout.folder
    return path, [path / file for file in (*layout.train, layout.test)]


def _batch(path: Path, layout: Layout) -> Bytes:
    """Images and labels of one file."""
    found = read_batch(path)
    images, labels = found.get("data"), found.get(layout.labels)
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != 3 * 32 * 32:
        raise CrispLoopError(f"{path} holds no images; expected 'data' of 3072 bytes an image.")
    if not isinstance(labels, list) or len(labels) != len(images) or not labels:
        raise CrispLoopError(
            f"{path} has no list {layout.labels!r} with one label for each of its"
            f" {len(images)} images."
        )
    for label in labels:
        if type(label) is not int or not 0 <= label < layout.classes:
            raise CrispLoopError(
                f"{path} holds the label {shown(label)}; expected 0 to {layout.classes - 1}."
            )
    return images.reshape(-1, *SHAPE), np.asarray(labels, dtype=np.int64)


def _names(path: Path, layout: Layout) -> tuple[str, ...]:
    """Class names of the meta file; the class ids without one."""
    names: tuple[str, ...] = ()
    if is_file(path / layout.meta):
        names = texts(read_batch(path / layout.meta).get(layout.names))
    if len(names) == layout.classes:
        return names
    return tuple(str(number) for number in range(layout.classes))
