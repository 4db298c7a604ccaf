"""CIFAR and picture folders, on small files in the true layouts, and on hostile ones."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.datasets import folder as folder_module
from crisp_loop.datasets import images as images_module
from crisp_loop.datasets.registry import load, parse, source_stamp

# ---- names ------------------------------------------------------------------------------


def test_names_are_parsed() -> None:
    assert parse("digits") == ("digits", None)
    assert parse("cifar10:a/b") == ("cifar10", Path("a/b"))
    assert parse("folder:C:/x") == ("folder", Path("C:/x"))
    assert parse("cifar100:~/x")[1] == Path.home() / "x"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist", "the known ones are digits, cifar10:PATH, cifar100:PATH, folder:PATH"),
        ("mnist:x", "the known ones are digits"),
        ("cifar10", "expected the path too: cifar10:PATH"),
        ("folder:", "expected the path too: folder:PATH"),
        ("cifar10:PATHS/none", "does not exist; expected the unpacked folder cifar-10"),
        ("folder:nowhere/none", "does not exist; expected a directory or .zip"),
        ("digits:x", "digits takes no path"),
    ],
)
def test_wrong_names_are_one_sentence(name: str, words: str) -> None:
    with pytest.raises(CrispLoopError, match=words):
        load(name)


# ---- CIFAR ------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def python2(data: np.ndarray, key: str, labels: list[int]) -> bytes:
    """What Python 2's cPickle wrote for {'data': array, key: labels}: the published files."""
    raw = data.tobytes()
    return b"".join(
        [
            b"\x80\x02}(" + text("batch_label") + text("training batch 1 of 5"),
            text("data"),
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n",
            number(0) + b"\x85" + text("b") + b"tR(" + number(1),
            number(data.shape[0]) + number(data.shape[1]) + b"\x86",
            b"cnumpy\ndtype\n(" + text("u1") + number(0) + number(1) + b"tR(" + number(3),
            text("|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb\x89",
            b"T" + struct.pack("<i", len(raw)) + raw + b"tb",
            text(key) + b"](" + b"".join(number(label) for label in labels) + b"e",
            b"u.",
        ]
    )


def pixels(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (samples, 3072), dtype=np.uint8)


def write_cifar10(where: Path, protocol: int | None = None) -> dict[str, np.ndarray]:
    """Five batches of 40 images, and 20 test images; ``protocol`` None writes as Python 2."""
    where.mkdir(parents=True)
    written: dict[str, np.ndarray] = {}
    for name in [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]:
        samples = 20 if name == "test_batch" else 40
        written[name] = pixels(samples, len(written))
        labels = [n % 10 for n in range(samples)]
        if protocol is None:
            (where / name).write_bytes(python2(written[name], "labels", labels))
        else:
            batch = {b"data": written[name], b"labels": labels}
            (where / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    names = {"label_names": [f"class {n}" for n in range(10)]}
    (where / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))
    return written


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_cifar10_as_written_by_any_python(tmp_path: Path, protocol: int | None) -> None:
    written = write_cifar10(tmp_path / "cifar-10-batches-py", protocol)
    data = load(f"cifar10:{tmp_path}", seed=1)
    assert [len(part) for part in (data.train, data.val, data.test)] == [180, 20, 20]
    assert data.val.labels.bincount().tolist() == [2] * 10
    assert data.classes[3] == "class 3"
    # Channel by channel, rows from the top; scaled by the training images' own statistics.
    assert data.test.labels.tolist() == [n % 10 for n in range(20)]
    raw = torch.from_numpy(written["test_batch"].reshape(-1, 3, 32, 32)).double() / 255
    again = data.test.images.double()
    for channel in range(3):
        slope, shift = np.polyfit(raw[:, channel].flatten(), again[:, channel].flatten(), 1)
        fitted = raw[:, channel] * slope + shift
        assert torch.allclose(fitted, again[:, channel], atol=1e-5)
    train = data.train.images.double()
    assert train.mean((0, 2, 3)).abs().max() < 1e-5
    assert (train.std((0, 2, 3)) - 1).abs().max() < 1e-4
    whole = {row.tobytes() for n in range(1, 6) for row in written[f"data_batch_{n}"]}
    assert len(whole) == 200


def test_cifar_split_follows_the_seed(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "c")
    first, again, other = (load(f"cifar10:{tmp_path / 'c'}", seed) for seed in (3, 3, 4))
    assert torch.equal(first.val.images, again.val.images)
    assert not torch.equal(first.val.images, other.val.images)
    # Only the training statistics move, by where the seed cuts.
    assert torch.allclose(first.test.images, other.test.images, atol=0.05)
    assert first.stamp == source_stamp(first.name) != ""
    os.utime(tmp_path / "c" / "test_batch", (1, 1))
    assert source_stamp(first.name) != first.stamp


def test_cifar100_has_fine_labels(tmp_path: Path) -> None:
    labels = [n % 100 for n in range(1000)]
    (tmp_path / "train").write_bytes(python2(pixels(1000, 0), "fine_labels", labels))
    (tmp_path / "test").write_bytes(python2(pixels(100, 1), "fine_labels", labels[:100]))
    data = load(f"cifar100:{tmp_path}")
    assert [len(part) for part in (data.train, data.val, data.test)] == [900, 100, 100]
    assert data.classes == tuple(str(n) for n in range(100))  # without the file meta
    with pytest.raises(CrispLoopError, match="data_batch_1 does not exist"):
        load(f"cifar10:{tmp_path}")


class Evil:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_asks_for_more_is_refused(tmp_path: Path, protocol: int) -> None:
    write_cifar10(tmp_path / "c")
    victim = tmp_path / "ran"
    batch = {b"data": pixels(1, 0), b"labels": [0], b"x": Evil(os.mkdir, str(victim))}
    (tmp_path / "c" / "data_batch_2").write_bytes(pickle.dumps(batch, protocol=protocol))
    with pytest.raises(CrispLoopError, match=r"asks for \w+\.mkdir, which no CIFAR file needs"):
        load(f"cifar10:{tmp_path / 'c'}")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("eval", r"asks for \w+\.eval"),
        ("getattr", r"asks for \w+\.getattr"),
        ("list", "a list instead of a dictionary"),
        ("cut", "is no readable CIFAR file"),
        ("text", "is no readable CIFAR file"),
        ("empty", "is no readable CIFAR file"),
        ("ndarray called", "is no readable CIFAR file"),
        ("persistent", "is no readable CIFAR file"),
        ("few bytes", "is no readable CIFAR file: cannot reshape"),
        ("float", r"is no readable CIFAR file: expected bytes \(uint8\)"),
        ("no data", "expected 'data' of 3072 bytes an image"),
        ("narrow", "expected 'data' of 3072 bytes an image"),
        ("few labels", "no list 'labels' with one label for each of its 2 images"),
        ("label 10", "holds the label 10; expected 0 to 9"),
        ("label text", "holds the label b?'1'; expected 0 to 9"),
        ("missing", "does not exist; expected CIFAR's python version"),
    ],
)
def test_wrong_cifar_files_are_one_sentence(tmp_path: Path, name: str, words: str) -> None:
    two = pixels(2, 0)
    good = python2(two, "labels", [0, 1])
    files = {
        "eval": pickle.dumps(Evil(eval, "1+1")),
        "getattr": pickle.dumps(Evil(getattr, [], "append")),
        "list": pickle.dumps([1]),
        "cut": good[:-100],
        "text": b"\x89PNG not a pickle",
        "empty": b"",
        "ndarray called": b"\x80\x02cnumpy\nndarray\n(" + number(2**31 - 1) + b"\x85tR.",
        "persistent": b"\x80\x02}(" + text("data") + text("x") + b"Qu.",
        "few bytes": python2(two, "labels", [0, 1]).replace(number(3072), number(3071)),
        "float": pickle.dumps({"data": two.astype(np.float32), "labels": [0, 1]}),
        "no data": pickle.dumps({"labels": [0, 1]}),
        "narrow": pickle.dumps({"data": two[:, :3000], "labels": [0, 1]}),
        "few labels": python2(two, "labels", [0]),
        "label 10": python2(two, "labels", [0, 10]),
        "label text": pickle.dumps({"data": two, "labels": ["1", 0]}),
    }
    write_cifar10(tmp_path / "c")
    batch = tmp_path / "c" / "data_batch_3"
    batch.unlink()
    if name in files:
        batch.write_bytes(files[name])
    with pytest.raises(CrispLoopError, match=words) as caught:
        load(f"cifar10:{tmp_path / 'c'}")
    assert "data_batch_3" in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- pictures ---------------------------------------------------------------------------

SHAPE = (3, 8, 8)


def picture(level: int, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (level, 255 - level, 7)).save(file, kind)
    return file.getvalue()


def some(prefix: str = "", per_class: int = 10) -> dict[str, bytes]:
    """Three classes whose pictures differ."""
    return {
        f"{prefix}{name}/{n:03}.png": picture(60 * number + 2 * n)
        for number, name in enumerate(("ape", "bee", "cat"))
        for n in range(per_class)
    }


def as_directory(root: Path, files: dict[str, bytes]) -> Path:
    for where, data in files.items():
        (root / where).parent.mkdir(parents=True, exist_ok=True)
        (root / where).write_bytes(data)
    return root


def as_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for where, data in files.items():
            archive.writestr(where, data)
    return path


def test_directory_and_zip_give_the_same(tmp_path: Path) -> None:
    files = some("wrapped/")
    files |= {"wrapped/.hidden/x.png": b"", "wrapped/readme.txt": b"x", "__MACOSX/a/._x.png": b""}
    plain = load(f"folder:{as_directory(tmp_path / 'd', files)}", 5, SHAPE)
    zipped = load(f"folder:{as_zip(tmp_path / 'z.zip', files)}", 5, SHAPE)
    assert plain.classes == zipped.classes == ("ape", "bee", "cat")
    for part in ("train", "val", "test"):
        one, two = getattr(plain, part), getattr(zipped, part)
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.labels)
        assert one.labels.bincount().tolist() == [8 if part == "train" else 1] * 3
    assert plain.stamp == source_stamp(plain.name) != zipped.stamp
    # No picture is in two parts: their levels of red all differ.
    red = torch.cat([part.images[:, 0, 0, 0] for part in (plain.train, plain.val, plain.test)])
    assert len(red.unique()) == 30
    other = load(plain.name, 6, SHAPE)
    assert not torch.equal(other.test.images, plain.test.images)


@pytest.mark.parametrize(
    ("prefixes", "sizes"),
    [
        (("train/", "test/"), (27, 3, 30)),
        (("train/", "val/"), (27, 3, 30)),
        (("train/", "val/", "test/"), (30, 30, 30)),
        (("data/train/", "data/valid/"), (27, 3, 30)),
        (("train/",), (24, 3, 3)),
    ],
)
def test_parts_of_the_source_are_kept(
    tmp_path: Path, prefixes: tuple[str, ...], sizes: tuple[int, ...]
) -> None:
    files = {where: data for prefix in prefixes for where, data in some(prefix).items()}
    data = load(f"folder:{as_directory(tmp_path, files)}", 0, SHAPE)
    assert tuple(len(part) for part in (data.train, data.val, data.test)) == sizes
    assert data.classes == ("ape", "bee", "cat")


def test_pictures_cover_the_input_and_lose_their_sides(tmp_path: Path) -> None:
    files = some()
    wide = np.zeros((16, 64, 3), dtype=np.uint8)
    wide[:, 24:40] = 255  # the middle, which alone is kept
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "PNG")
    files["ape/000.png"] = file.getvalue()
    files["ape/001.png"] = picture(9, (5, 40), "JPEG")
    path = as_directory(tmp_path, files)
    _, parts = folder_module._arranged(path, folder_module._entries(path))
    with folder_module._reader(path) as read:
        images, labels = folder_module._read(path, read, parts["all"], (3, 8, 8))
        grey, _ = folder_module._read(path, read, parts["all"], (1, 8, 4))
    assert images.shape == (30, 3, 8, 8)
    assert images[0].min() > 200
    assert np.abs(images[1, 0].astype(int) - 9).max() <= 3
    assert labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert grey.shape == (30, 1, 8, 4)


def png16() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"ape/x.png": b"no picture"}, "ape/x.png is no readable picture: neither PNG nor JPEG"),
        ({"ape/x.png": picture(1)[:45]}, "ape/x.png is no readable picture"),
        ({"ape/x.jpg": picture(1, (90, 90), "JPEG")[:-60]}, "x.jpg is no readable picture"),
        ({"ape/x.png": b"GIF89a" + bytes(40)}, "neither PNG nor JPEG"),
        ({"ape/x.png": png16()}, "16-bit pictures are not read"),
        ({"x.png": picture(1)}, "x.png lies in no class folder; expected CLASS/PICTURE"),
        ({"dog/x.png": picture(1)}, "the class dog has 1 pictures, too few to hold some out"),
    ],
)
def test_wrong_pictures_are_one_sentence(
    tmp_path: Path, more: dict[str, bytes], words: str
) -> None:
    for path in (
        as_directory(tmp_path / "d", some() | more),
        as_zip(tmp_path / "z.zip", some() | more),
    ):
        with pytest.raises(CrispLoopError, match=words) as caught:
            load(f"folder:{path}", 0, SHAPE)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, r"holds no pictures \(.png, .jpg, .jpeg\) in class folders"),
        ({"a/x.txt": b""}, "holds no pictures"),
        ({"a/x.png": picture(1)}, "holds the class a alone; expected two or more"),
        (
            some("train/") | some("test/") | {"train/x.png": b""},
            "train/x.png lies in no class folder",
        ),
        (some("train/") | {"test/ape/x.png": b""}, "class bee is in train but not in test"),
        (some("train/") | some("val/") | {"val/dog/x.png": b""}, "dog is in test but not in train"),
    ],
)
def test_wrong_layouts_are_one_sentence(
    tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(CrispLoopError, match=words):
        load(f"folder:{as_directory(tmp_path / 'd', files)}", 0, SHAPE)


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "a/../../x.png", "C:/x.png"])
def test_names_that_leave_an_archive_are_refused(tmp_path: Path, name: str) -> None:
    path = as_zip(tmp_path / "z.zip", some() | {name: picture(1)})
    with pytest.raises(CrispLoopError, match="leads out of it; it is refused"):
        load(f"folder:{path}", 0, SHAPE)
    assert sorted(tmp_path.iterdir()) == [path]


def test_an_entry_without_a_name_is_no_picture(tmp_path: Path) -> None:
    plain = as_zip(tmp_path / "z.zip", some())
    data = load(f"folder:{plain}", 0, SHAPE)
    nameless = as_zip(tmp_path / "n.zip", {"x": picture(1)} | some())
    # In the local header and in the directory: a name of no letters, an extra field of one byte.
    raw = nameless.read_bytes()
    for start, at in ((b"PK\3\4", 26), (b"PK\1\2", 28)):
        here = raw.index(start) + at
        raw = raw[:here] + b"\0\0\1\0" + raw[here + 4 :]
    nameless.write_bytes(raw)
    with zipfile.ZipFile(nameless) as archive:
        assert archive.namelist()[0] == ""
    again = load(f"folder:{nameless}", 0, SHAPE)
    assert len(again.train) == len(data.train)


def test_bombs_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = some() | {"ape/x.png": bytes(4 * 2**20)}
    path = as_zip(tmp_path / "z.zip", zeros, zipfile.ZIP_DEFLATED)
    with pytest.raises(CrispLoopError, match=r"ape/x.png would unpack .* refused as a bomb"):
        load(f"folder:{path}", 0, SHAPE)
    path = as_zip(tmp_path / "sum.zip", some())
    monkeypatch.setattr(folder_module, "ARCHIVE_LIMIT", 1000)
    with pytest.raises(CrispLoopError, match="refused as a bomb"):
        load(f"folder:{path}", 0, SHAPE)
    plain = as_directory(tmp_path / "d", some())
    monkeypatch.setattr(folder_module, "PICTURE_LIMIT", 70)
    with pytest.raises(CrispLoopError, match="larger than a picture's"):
        load(f"folder:{plain}", 0, SHAPE)
    monkeypatch.setattr(folder_module, "PICTURE_LIMIT", 1000)
    huge = as_directory(tmp_path / "e", some() | {"ape/x.png": picture(1, (90, 90))})
    with pytest.raises(CrispLoopError, match="8100 pixels are more than the 1000 allowed"):
        load(f"folder:{huge}", 0, SHAPE)
    monkeypatch.setattr(images_module, "MEMORY_LIMIT", 30 * 3 * 8 * 8 * 4 - 1)
    with pytest.raises(CrispLoopError, match="holds 30 images, which take"):
        load(f"folder:{plain}", 0, SHAPE)


def test_damaged_archives_are_one_sentence(tmp_path: Path) -> None:
    good = as_zip(tmp_path / "z.zip", some()).read_bytes()
    damaged = bytearray(good)
    damaged[60] ^= 255  # inside the first picture
    for data, words in ((good[:-30], "no readable zip"), (b"PK", "no readable zip")):
        (tmp_path / "x.zip").write_bytes(data)
        with pytest.raises(CrispLoopError, match=words):
            load(f"folder:{tmp_path / 'x.zip'}", 0, SHAPE)
    (tmp_path / "x.zip").write_bytes(bytes(damaged))
    with pytest.raises(CrispLoopError, match=r"Bad CRC-32 for file 'ape/000\.png'"):
        load(f"folder:{tmp_path / 'x.zip'}", 0, SHAPE)
    (tmp_path / "x.tar").write_bytes(good)
    with pytest.raises(CrispLoopError, match=r"is a file; expected a directory or \.zip"):
        load(f"folder:{tmp_path / 'x.tar'}", 0, SHAPE)


def test_names_are_input_errors() -> None:
    with pytest.raises(InputError, match="dataset: 'mnist' cannot be used"):
        parse("mnist")
