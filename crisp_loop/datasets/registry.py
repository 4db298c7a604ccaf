"""The data sets that an experiment can name."""

from __future__ import annotations

from pathlib import Path

from crisp_loop.core.errors import InputError
from crisp_loop.datasets.cifar import CIFAR10, CIFAR100, cifar, cifar_stamp
from crisp_loop.datasets.digits import digits
from crisp_loop.datasets.folder import folder, folder_stamp
from crisp_loop.datasets.split import Dataset

DATASETS: dict[str, str] = {
    "digits": "scikit-learn's handwritten digits, which ship with it",
    "cifar10:PATH": "CIFAR-10's python version, unpacked",
    "cifar100:PATH": "CIFAR-100's python version, unpacked; its 100 fine classes",
    "folder:PATH": "pictures in one folder a class, as a directory or a .zip",
}
"""How a data set is named, and what it is."""
_CIFAR = {"cifar10": CIFAR10, "cifar100": CIFAR100}


def parse(name: str) -> tuple[str, Path | None]:
    """Kind and path of a data set's name; no file is looked at.

    Raises:
        InputError: there is no such kind, its path is missing, or it takes none.
    """
    kind, colon, path = name.partition(":")
    if name in DATASETS and not colon:
        return kind, None
    if f"{kind}:PATH" in DATASETS:
        if not path:
            raise InputError("dataset", "", name, f"expected the path too: {kind}:PATH")
        return kind, Path(path).expanduser()
    if kind in DATASETS:
        raise InputError("dataset", "", name, f"{kind} takes no path; expected {kind} alone")
    raise InputError("dataset", "", name, f"the known ones are {', '.join(DATASETS)}")


def load(name: str, seed: int = 0, shape: tuple[int, int, int] = (3, 224, 224)) -> Dataset:
    """The data set ``name``, split with ``seed``.

    Args:
        name: As :data:`DATASETS` writes it.
        seed: Of what is split here and not by the data set's authors.
        shape: (C, H, W) that pictures in folders are brought to; others have a shape of their own.

    Raises:
        CrispLoopError: an unknown name, or files that cannot be used.
    """
    kind, path = parse(name)
    if path is None:
        return digits(seed)
    if kind in _CIFAR:
        return cifar(_CIFAR[kind], path, name, seed)
    return folder(path, name, shape, seed)


def source_stamp(name: str) -> str:
    """The :attr:`Dataset.stamp` that :func:`load` would give, without reading the samples."""
    kind, path = parse(name)
    if path is None:
        return ""
    return cifar_stamp(_CIFAR[kind], path) if kind in _CIFAR else folder_stamp(path)
