"""Files changed so that they look like what they were: one function a kind of file.

Each takes a file's bytes and a generator, and returns other bytes. What cannot be taken apart (it
is damaged, or of another kind than its ending says) is changed byte by byte.
"""

from __future__ import annotations

import csv
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any

from fuzz_text import NUMBERS, TEXTS, Raw, as_json, as_yaml, hostile, mutated

from crisp_loop.core.files import parse_yaml

Mutation = Callable[[bytes, Random], bytes]


def mutate(name: str, data: bytes, rng: Random) -> bytes:
    """The content of the file ``name``, changed in the manner of its kind."""
    kind = KINDS.get(PurePosixPath(name).suffix, as_bytes)
    if kind is as_bytes or rng.random() < 0.25:
        return as_bytes(data, rng)
    try:
        return kind(data, rng)
    except Exception:  # broken already, or of another kind than its ending says
        return as_bytes(data, rng)


# ---- whatever it is --------------------------------------------------------------------------


def as_bytes(data: bytes, rng: Random) -> bytes:
    """Flipped, cut, repeated, overwritten, or with something else in between."""
    if not data:
        return rng.randbytes(rng.randrange(100))
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 2, 8, 100, 4000)))
    part = data[start:end]

    def flipped() -> bytes:
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 9)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    def overwritten() -> bytes:
        filler = rng.choice((b"\0", b"\xff", b" ", b"\n", b"9", b"[", b"("))
        return data[:start] + filler * len(part) + data[end:]

    def worded() -> bytes:
        word = rng.choice((*TEXTS, "9" * 30, "-1", "1e999")).encode("utf-8", "surrogatepass")
        return data[:start] + word + data[start:]

    def numbered() -> bytes:
        digits = [i for i, byte in enumerate(data[:20_000]) if 48 <= byte <= 57]
        if not digits:
            return flipped()
        at = rng.choice(digits)
        stop = next((i for i in range(at, len(data)) if not 48 <= data[i] <= 57), len(data))
        number = rng.choice(NUMBERS)
        text = number.text if isinstance(number, Raw) else str(number)
        return data[:at] + text.encode() + data[stop:]

    return rng.choice(
        (
            flipped,
            overwritten,
            worded,
            numbered,
            numbered,
            lambda: data[:start],
            lambda: data[:start] + data[end:],
            lambda: data[:end] + part + data[end:],
            lambda: data[:start] + rng.randbytes(len(part)) + data[end:],
            lambda: data[:start] + struct.pack("<Q", rng.choice((0, 2**31, 2**62))) + data[start:],
            lambda: rng.choice((b"", b"\0", b"\xef\xbb\xbf" + data, data * 2, part * 5000)),
        )
    )()


# ---- text ------------------------------------------------------------------------------------


def as_lines(data: bytes, rng: Random) -> bytes:
    """A line away, twice, elsewhere, or another one in its place."""
    lines = data.split(b"\n")
    here, there = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(5)
    if change == 0:
        del lines[here]
    elif change == 1:
        lines.insert(there, lines[here])
    elif change == 2:
        lines[here], lines[there] = lines[there], lines[here]
    elif change == 3:
        lines[here] = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
    else:
        label, colon, _ = lines[here].partition(b":")
        number = rng.choice(NUMBERS)
        text = number.text if isinstance(number, Raw) else str(number)
        lines[here] = label + colon + b" " + text.encode()
    return b"\n".join(lines)


def _yaml(data: bytes, rng: Random) -> bytes:
    text = as_yaml(mutated(parse_yaml(data.decode(), "example"), rng))
    return text.encode("utf-8", "surrogatepass")


def _json(data: bytes, rng: Random) -> bytes:
    return as_json(mutated(json.loads(data), rng)).encode("utf-8", "surrogatepass")


def _csv(data: bytes, rng: Random) -> bytes:
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    row = rng.choice(rows)
    change = rng.randrange(6)
    if change <= 2 and row:
        value = hostile(rng)
        row[rng.randrange(len(row))] = value.text if isinstance(value, Raw) else str(value)
    elif change == 3 and row:
        del row[rng.randrange(len(row))]
    elif change == 4:
        row.append(rng.choice(TEXTS))
    else:
        rows.insert(rng.randrange(len(rows) + 1), list(rng.choice(rows)))
    text = io.StringIO()
    csv.writer(text, lineterminator=rng.choice(("\n", "\r\n", "\r"))).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


# ---- tensors ---------------------------------------------------------------------------------

_DTYPES = ("BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "F32", "F64", "I64", "F8_E4M3",
           "F8_E5M2", "C64", "F4", "X")  # fmt: skip


def _safetensors(data: bytes, rng: Random) -> bytes:
    """The library's header or ours inside it; types, shapes, names and metadata."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    body = data[8 + size :]
    names = [name for name in header if name != "__metadata__"]
    change = rng.randrange(6)
    if change == 0 and names:
        header[rng.choice(names)]["dtype"] = rng.choice(_DTYPES)
    elif change == 1 and names:
        header[rng.choice(TEXTS)] = header.pop(rng.choice(names))
    elif change == 2 and names:
        entry = header[rng.choice(names)]
        entry["shape"] = rng.choice(
            ([], [0], entry["shape"][::-1], [1, *entry["shape"]], [2**62, 0], [2**40, 2**40], [-1],
             [1] * 70)
        )  # fmt: skip
    elif change == 3 and (ours := header.get("__metadata__")):
        key = rng.choice(list(ours))
        try:
            ours[key] = as_json(mutated(json.loads(ours[key]), rng))
        except ValueError:
            ours[key] = rng.choice(TEXTS)
    elif change == 4 and body:
        at = rng.randrange(len(body))
        body = body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :]
    else:
        header = mutated(header, rng)
    text = as_json(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + body


# ---- pickles ---------------------------------------------------------------------------------

_OPCODES = (
    b"r\xff\xff\xff\x7f",  # a memo of two billion entries
    b"r\xff\xff\xff\xff",
    b"j\xff\xff\xff\x7f",
    b"\x8e" + struct.pack("<Q", 2**40) + b"x",  # bytes of a terabyte
    b"\x96" + struct.pack("<Q", 2**36),
    b"\x8d" + struct.pack("<Q", 2**62),
    b"B\xff\xff\xff\xffx", b"T\xff\xff\xff\x7fx", b"X\xff\xff\xff\xffx",
    b"\x8b\xff\xff\xff\x7f", b"\x8a\xff" + b"\x7f" * 255, b"L" + b"9" * 9000 + b"L\n",
    b"cos\nsystem\n(S'touch owned'\ntR", b"cbuiltins\neval\n(S'1'\ntR", b"(S'x'\nios\nsystem\n",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R", b"\x82\x01", b"\x84\xff\xff\xff\x7f",
    b"Px\n", b"Q", b"2" * 50, b"(" * 5000, b"]" * 5000, b"\x81", b"\x92", b"b", b"R", b"o", b"0",
    b"\x95" + struct.pack("<Q", 2**62), b"\x97", b"\x98", b"\x8f\x90", b"}]s",
    b"cnumpy.core.multiarray\n_reconstruct\n(tR(I1\n(I9999999999\ntcnumpy\ndtype\n(S'u1'\ntRI00\n"
    b"S'x'\ntb",
    b"cnumpy.core.numeric\n_frombuffer\n(I99999999999\ncnumpy\ndtype\n(S'u1'\ntR(I3072\ntS'C'\ntR",
)  # fmt: skip


def as_pickle(data: bytes, rng: Random) -> bytes:
    """Instructions in between, which may even be where one can stand."""
    if rng.random() < 0.3:
        return as_bytes(data, rng)
    near = min(len(data), 200) if rng.random() < 0.5 else len(data)
    at = 2 if rng.random() < 0.5 else rng.randrange(near)
    return data[:at] + rng.choice(_OPCODES) + data[at:]


# ---- archives --------------------------------------------------------------------------------


def _zip(data: bytes, rng: Random) -> bytes:
    """Names, methods, sizes and contents of members; at times of the pickle inside."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    index = rng.randrange(len(members))
    info, content = members[index]
    change = rng.randrange(8)
    if change == 0:
        prefix = rng.choice(("", info.filename.rpartition("/")[0] + "/"))
        info.filename = prefix + rng.choice(TEXTS).replace("\ud800", "?").replace("\udfff", "?")
        info.filename = info.filename[:60_000]
    elif change == 1:
        content = rng.choice((b"", b"\0" * 2_000_000, as_bytes(content, rng)))
    elif change == 2:
        info.compress_type = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    elif change == 3:
        members.append((info, content))
    elif change == 4:
        info.date_time = (1980, 0, 0, 31, 63, 62)
    elif change == 5:
        info.extra = rng.choice((b"\x01\x00\xff\xff", rng.randbytes(20)))
    else:
        pickles = [i for i, (each, _) in enumerate(members) if each.filename.endswith(".pkl")]
        index = rng.choice(pickles or [index])
        info, content = members[index]
        content = (as_pickle if pickles else as_bytes)(content, rng)
    members[index] = info, content
    written = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(written, "w") as archive:
        warnings.simplefilter("ignore")  # a name may be there twice
        archive.comment = b"x" * rng.choice((0, 0, 70))
        for each, its in members:
            archive.writestr(each, its)
    changed = bytearray(written.getvalue())
    if rng.random() < 0.3:  # a field of the central directory
        at = changed.find(b"PK\1\2") + rng.randrange(46)
        changed[at] = rng.choice((0, 1, 8, 9, 12, 14, 255))
    return bytes(changed)


# ---- tables ----------------------------------------------------------------------------------


def _parquet(data: bytes, rng: Random) -> bytes:
    """The footer, with its length as it then is."""
    size = int.from_bytes(data[-8:-4], "little")
    footer = as_bytes(data[-8 - size : -8], rng)
    return data[: -8 - size] + footer + struct.pack("<I", len(footer)) + data[-4:]


# ---- graphs ----------------------------------------------------------------------------------


def _onnx(data: bytes, rng: Random) -> bytes:
    """Fields of the graph's messages."""
    import onnx

    model = onnx.ModelProto.FromString(data)
    messages = _messages(model.graph)
    for _ in range(rng.choice((1, 1, 2, 3))):
        message = rng.choice(messages)
        field = rng.choice(message.DESCRIPTOR.fields)
        _set(message, field, rng)
    return model.SerializeToString()


def _messages(message: Any) -> list[Any]:
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if hasattr(value, "add") else [value]:
                found += _messages(each)
    return found


def _set(message: Any, field: Any, rng: Random) -> None:
    value = getattr(message, field.name)
    repeated = hasattr(value, "append")
    integers = (0, 1, 2, 3, -1, 7, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
    names = [text for text in TEXTS if text.isprintable()]

    def fresh() -> Any:
        match field.cpp_type:
            case field.CPPTYPE_INT32 | field.CPPTYPE_ENUM:
                return rng.choice((0, 1, 2, 7, 16, 20))
            case field.CPPTYPE_INT64:
                return rng.choice(integers)
            case field.CPPTYPE_UINT64 | field.CPPTYPE_UINT32:
                return rng.choice((0, 1, 7, 2**31))
            case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
                return rng.choice((0.0, 1e30, float("nan")))
            case _:
                text = rng.choice((*names, "Conv", "MatMul", "Gemm", "Reshape", "Loop", "If"))
                return text.encode() if isinstance(value, bytes) else text

    if field.message_type is not None:
        if not repeated or not value:
            message.ClearField(field.name)
        elif rng.random() < 0.5:
            del value[rng.randrange(len(value))]
        else:
            value.add().CopyFrom(rng.choice(list(value)))
    elif repeated:
        if value and rng.random() < 0.7:
            value[rng.randrange(len(value))] = fresh()
        else:
            value.extend([fresh()] * rng.choice((1, 1, 5)))
    else:
        setattr(message, field.name, fresh())


KINDS: dict[str, Mutation] = {
    ".yaml": _yaml,
    ".json": _json,
    ".csv": _csv,
    ".txt": as_lines,
    ".safetensors": _safetensors,
    ".pickle": as_pickle,
    "": as_pickle,  # CIFAR's batches have no ending
    ".zip": _zip,
    ".pth": _zip,
    ".onnx": _onnx,
    ".parquet": _parquet,
}
"""By the ending of a file's name."""


# ---- the file itself -------------------------------------------------------------------------


def misplace(path: Path, rng: Random) -> None:
    """In the place of a file: nothing, a directory, or a link that leads nowhere good."""
    path.unlink()
    change = rng.randrange(4)
    if change == 1:
        path.mkdir()
    elif change == 2:
        path.symlink_to(path)
    elif change == 3:
        path.symlink_to("/nowhere/at/all")
