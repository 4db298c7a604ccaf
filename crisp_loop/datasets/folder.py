"""Pictures in one folder a class (ImageFolder's layout), as a directory or a zip file."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import is_directory, is_file
from crisp_loop.datasets.images import Bytes, check_memory, normalised, stamp
from crisp_loop.datasets.split import Dataset, stratified_rows

SUFFIXES = (".png", ".jpg", ".jpeg")
SHARES = (0.8, 0.1, 0.1)
"""Training, validation and test, where the source has no parts of its own."""
VALIDATION = 0.1
"""Share of the training pictures held out where the source has a test part only."""
TEST, VAL = ("test",), ("val", "valid", "validation")
"""Names of folders beside ``train``. Without a test part the validation part is the test:
ImageNet has labels for no other."""

PICTURE_LIMIT = 64 * 2**20
"""Bytes of one file, and pixels of one picture."""
ARCHIVE_LIMIT = 64 * 2**30
"""Bytes of all pictures in a zip file together."""
RATIO_LIMIT = 200
"""Times that a file in an archive may be larger than what is stored of it."""


@dataclass(frozen=True)
class Entry:
    """One picture."""

    where: str
    """Path inside the source, with ``/``."""
    size: int
    time: object
    """Of its last change."""

    @property
    def parts(self) -> list[str]:
        """Folders and file name."""
        return self.where.split("/")


Labelled = tuple[list[str], np.ndarray]
"""Paths inside the source, and the class id of each."""


def folder(path: Path, name: str, shape: tuple[int, int, int], seed: int = 0) -> Dataset:
    """The pictures under ``path``: ``CLASS/*.png`` or ``train/CLASS/*``, ``test/CLASS/*``.

    Each picture is resized so that it just covers the network's input, and its middle is taken.

    Args:
        path: A directory, or a .zip file, which is read without unpacking it.
        name: Of the data set.
        shape: (C, H, W) of the network's input; C is 3, or 1 for grey levels.
        seed: Of the stratified splits that the source does not have itself.

    Raises:
        CrispLoopError: another layout, or a picture or archive that cannot or must not be read.
    """
    entries = _entries(path)
    classes, parts = _arranged(path, entries)
    check_memory(path, sum(len(part[0]) for part in parts.values()), shape)
    with _reader(path) as read:
        read_parts = {part: _read(path, read, parts[part], shape) for part in parts}
    train, val, test = normalised(*_split(path, classes, read_parts, seed))
    return Dataset(name, classes, train, val, test, _stamp(entries))


def folder_stamp(path: Path) -> str:
    """What tells one state of the pictures from another."""
    return _stamp(_entries(path))


def _stamp(entries: Sequence[Entry]) -> str:
    return stamp((entry.where, entry.size, entry.time) for entry in entries)


# ---- what is there -----------------------------------------------------------------------


def _entries(path: Path) -> list[Entry]:
    """All pictures, ordered by path."""
    if is_directory(path):
        found = _in_directory(path)
    elif is_file(path) and path.suffix.lower() == ".zip":
        with _archive(path) as archive:
            found = _in_archive(path, archive)
    else:
        what = "is a file" if is_file(path) else "does not exist"
        raise CrispLoopError(f"{path} {what}; expected a directory or .zip of pictures by class.")
    pictures = [entry for entry in found if _is_picture(entry.parts)]
    if not pictures:
        raise CrispLoopError(f"{path} holds no pictures ({', '.join(SUFFIXES)}) in class folders.")
    for entry in pictures:
        if entry.size > PICTURE_LIMIT:
            raise CrispLoopError(f"{path}: {entry.where} is larger than a picture's 64 MiB.")
    return sorted(pictures, key=lambda entry: entry.parts)


def _is_picture(parts: list[str]) -> bool:
    """Whether its name says so; hidden files and what macOS adds to archives are none."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return parts[-1].lower().endswith(SUFFIXES) and not hidden


def _in_directory(path: Path) -> list[Entry]:
    found: list[Entry] = []
    for folder_path, _, files in os.walk(path):
        for file in files:
            whole = Path(folder_path) / file
            if is_file(whole):
                state = whole.stat()
                where = whole.relative_to(path).as_posix()
                found.append(Entry(where, state.st_size, state.st_mtime_ns))
    return found


def _in_archive(path: Path, archive: zipfile.ZipFile) -> list[Entry]:
    """Entries of a zip file, whose names and sizes are not trusted."""
    found: list[Entry] = []
    total = 0
    for info in archive.infolist():
        name = info.filename
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise CrispLoopError(f"{path} holds {name!r}, which leads out of it; it is refused.")
        if name.endswith("/"):
            continue
        if info.flag_bits & 1:
            raise CrispLoopError(f"{path}: {name} is encrypted; expected a zip without password.")
        total += info.file_size
        if info.file_size > max(2**20, RATIO_LIMIT * info.compress_size) or total > ARCHIVE_LIMIT:
            raise CrispLoopError(
                f"{path}: {name} would unpack to {info.file_size} bytes from"
                f" {info.compress_size}, {total} with those before it; it is refused as a bomb."
            )
        found.append(Entry(name, info.file_size, (*info.date_time, info.CRC)))
    return found


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise CrispLoopError(f"{path} is no readable zip file: {str(error).rstrip('.')}.") from None
    except OSError as error:
        raise CrispLoopError(f"{path} cannot be read: {error.strerror or error}.") from None


# ---- which picture is what ---------------------------------------------------------------


def _arranged(path: Path, entries: list[Entry]) -> tuple[tuple[str, ...], dict[str, Labelled]]:
    """Class names, and the pictures of each part: ``all``, or ``train``, ``val`` and ``test``."""
    rows = [(entry.where, entry.parts) for entry in entries]
    while len({parts[0] for _, parts in rows}) == 1 and min(len(parts) for _, parts in rows) > 2:
        rows = [(where, parts[1:]) for where, parts in rows]
    for where, parts in rows:
        if len(parts) < 2:
            raise CrispLoopError(
                f"{path}: {where} lies in no class folder; expected CLASS/PICTURE."
            )
    tops = {parts[0] for _, parts in rows}
    known = {"train": "train", **dict.fromkeys(VAL, "val"), **dict.fromkeys(TEST, "test")}
    by_part: dict[str, list[tuple[str, str]]] = {}
    if "train" in tops and tops <= set(known) and len(tops) > 1:
        for where, parts in rows:
            if len(parts) < 3:
                raise CrispLoopError(
                    f"{path}: {where} lies in no class folder; expected {parts[0]}/CLASS/PICTURE."
                )
            by_part.setdefault(known[parts[0]], []).append((where, parts[1]))
    else:
        by_part["all"] = [(where, parts[0]) for where, parts in rows]
    if "test" not in by_part and "val" in by_part:
        by_part["test"] = by_part.pop("val")
    classes = tuple(sorted({label for _, label in by_part.get("train", by_part.get("all", []))}))
    if len(classes) < 2:
        raise CrispLoopError(
            f"{path} holds the class {', '.join(classes)} alone; expected two or more"
            f" class folders."
        )
    ids = {label: number for number, label in enumerate(classes)}
    parts_found: dict[str, Labelled] = {}
    for part, pictures in by_part.items():
        held = {label for _, label in pictures}
        for label in sorted(held ^ set(classes)):
            has, lacks = (part, "train") if label in held else ("train", part)
            raise CrispLoopError(
                f"{path}: the class {label} is in {has} but not in {lacks}; expected the same"
                f" classes in both."
            )
        labels = np.array([ids[label] for _, label in pictures], dtype=np.int64)
        parts_found[part] = [where for where, _ in pictures], labels
    return classes, parts_found


def _split(
    path: Path, classes: tuple[str, ...], parts: dict[str, Bytes], seed: int
) -> tuple[Bytes, Bytes, Bytes]:
    """Training, validation and test, held out of what is there as far as need be."""
    if "all" in parts:
        cut = _held_out(path, classes, parts["all"], SHARES, seed)
        return cut[0], cut[1], cut[2]
    if "val" in parts:
        return parts["train"], parts["val"], parts["test"]
    cut = _held_out(path, classes, parts["train"], (1 - VALIDATION, VALIDATION), seed)
    return cut[0], cut[1], parts["test"]


def _held_out(
    path: Path, classes: tuple[str, ...], part: Bytes, shares: Sequence[float], seed: int
) -> list[Bytes]:
    images, labels = part
    cut = stratified_rows(labels, shares, seed)
    for number, label in enumerate(classes):
        if not all((labels[rows] == number).any() for rows in cut):
            raise CrispLoopError(
                f"{path}: the class {label} has {int((labels == number).sum())} pictures, too few"
                f" to hold some out; expected ten or more, or folders of their own beside train."
            )
    return [(images[rows], labels[rows]) for rows in cut]


# ---- pictures ----------------------------------------------------------------------------


@contextmanager
def _reader(path: Path) -> Iterator[Callable[[str], bytes]]:
    """A function from a path inside the source to that file's bytes."""
    if is_directory(path):
        try:
            yield lambda where: (path / where).read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise CrispLoopError(f"{error.filename or path} cannot be read: {reason}.") from None
        return
    with _archive(path) as archive:
        yield archive.read


def _read(
    path: Path, read: Callable[[str], bytes], part: Labelled, shape: tuple[int, int, int]
) -> Bytes:
    wheres, labels = part
    images = np.empty((len(wheres), *shape), dtype=np.uint8)
    for image, where in zip(images, wheres, strict=True):
        image[:] = _picture(path, where, read(where), shape)
    return images, labels


def _picture(path: Path, where: str, data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """One picture as uint8 (C, H, W): resized to cover H x W, then cropped in the middle."""
    channels, height, width = shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
                pixels = opened.size[0] * opened.size[1]
                if pixels > PICTURE_LIMIT:
                    raise ValueError(f"{pixels} pixels are more than the {PICTURE_LIMIT} allowed")
                if opened.mode.startswith(("I", "F")):
                    raise ValueError("16-bit pictures are not read; expected 8 bits a channel")
                picture = opened.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # a damaged picture can raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        if "cannot identify" in reason:
            reason = "neither PNG nor JPEG"
        raise CrispLoopError(f"{path}: {where} is no readable picture: {reason}.") from None
    if picture.size != (width, height):
        scale = max(width / picture.width, height / picture.height)
        covering = (
            max(width, round(picture.width * scale)),
            max(height, round(picture.height * scale)),
        )
        left, top = (covering[0] - width) // 2, (covering[1] - height) // 2
        picture = picture.resize(covering, Image.Resampling.BILINEAR)
        picture = picture.crop((left, top, left + width, top + height))
    pixels_chw = np.asarray(picture).reshape(height, width, channels)
    return pixels_chw.transpose(2, 0, 1)
