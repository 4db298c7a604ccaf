"""Pickled CIFAR batches, read without running anything that a pickle asks for.

A pickle is a program that may call any function. Here it can name nothing but the few constructors
of numpy arrays, and even those are stand-ins that only note their arguments; numpy itself sees
the finished bytes. Before it runs, its instructions are looked through: those that no CIFAR file
has are refused, and so is a memo beyond its own length, for which Python would reserve gigabytes.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import is_file

SIZE_LIMIT = 512 * 2**20
"""Bytes of one pickle; the largest of CIFAR has 156 million."""


_INSTRUCTIONS = frozenset(
    """PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT
    BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE
    BINUNICODE SHORT_BINUNICODE EMPTY_LIST APPEND APPENDS LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    EMPTY_DICT DICT SETITEM SETITEMS PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    GLOBAL STACK_GLOBAL REDUCE BUILD""".split()  # noqa: SIM905
)
"""What pickles of plain data and arrays consist of, in any protocol."""
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")


class _Type:
    """Stands in for a dtype: notes its code."""

    __slots__ = ("code",)

    def __init__(self, code: str) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and the like, which bytes have not."""


class _Array:
    """Stands in for an array: notes shape, type and bytes."""

    __slots__ = ("code", "data", "fortran", "shape")

    def __init__(self) -> None:
        self.shape: Any = (0,)
        self.code = ""
        self.fortran = False
        self.data: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, kind, self.fortran, self.data = state
        self.code = kind.code

    def as_bytes(self) -> np.ndarray:
        """The array of bytes that was stored; ValueError if it is none."""
        if self.code != "u1" or not isinstance(self.data, bytes | bytearray):
            raise ValueError("expected bytes (uint8)")
        order = "F" if self.fortran else "C"
        return np.frombuffer(self.data, np.uint8).reshape(self.shape, order=order).copy()


class _Reader(pickle.Unpickler):
    """Names are resolved to methods of this object, and to nothing else."""

    def __init__(self, data: bytes, path: Path) -> None:
        # Python 2 wrote the originals: their strings are bytes.
        super().__init__(io.BytesIO(data), encoding="bytes")
        self.path = path

    def find_class(self, module_name: str, global_name: str) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): self._array,
            ("numpy._core.multiarray", "_reconstruct"): self._array,
            ("numpy.core.numeric", "_frombuffer"): self._from_buffer,
            ("numpy._core.numeric", "_frombuffer"): self._from_buffer,
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): self._type,
            ("_codecs", "encode"): self._encoded,
        }
        if (module_name, global_name) not in known:
            raise CrispLoopError(
                f"{self.path} asks for {module_name}.{global_name}, which no CIFAR file needs;"
                f" it is refused, and nothing in it was run."
            )
        return known[module_name, global_name]

    def _array(self, *_: object) -> _Array:
        return _Array()

    def _type(self, code: object, *_: object) -> _Type:
        return _Type(code.decode() if isinstance(code, bytes) else str(code))

    def _from_buffer(self, data: object, kind: _Type, shape: object, order: object) -> _Array:
        if not isinstance(data, bytes | bytearray):  # bytes(number) would be as many zeros
            raise ValueError("expected bytes")
        array = _Array()
        array.__setstate__((1, shape, kind, order == "F", bytes(data)))
        return array

    def _encoded(self, text: str, encoding: object) -> bytes:
        if encoding not in ("latin1", b"latin1"):
            raise ValueError("expected latin1")
        return text.encode("latin1")


def read_batch(path: Path) -> dict[str, Any]:
    """The dictionary that ``path`` holds: lists, strings as bytes or str, uint8 arrays.

    Raises:
        CrispLoopError: missing, too large, damaged, or a pickle that asks for anything else.
    """
    if not is_file(path):
        raise CrispLoopError(f"{path} does not exist; expected CIFAR's python version, unpacked.")
    if path.stat().st_size > SIZE_LIMIT:
        raise CrispLoopError(f"{path} is larger than any CIFAR file; expected at most 512 MiB.")
    try:
        data = path.read_bytes()
        _look_through(data)
        found = _Reader(data, path).load()
        if not isinstance(found, dict):
            raise TypeError(f"a {type(found).__name__} instead of a dictionary")
        return {_text(key): _plain(value) for key, value in found.items()}
    except CrispLoopError:
        raise
    except OSError as error:
        raise CrispLoopError(f"{path} cannot be read: {error.strerror or error}.") from None
    except Exception as error:  # a damaged pickle can raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CrispLoopError(f"{path} is no readable CIFAR file: {reason}.") from None


def _look_through(data: bytes) -> None:
    """ValueError where an instruction is none of plain data and arrays."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name not in _INSTRUCTIONS:
            raise ValueError(f"the instruction {opcode.name} has no place in it")
        if opcode.name in _MEMO and not 0 <= int(argument or 0) <= count:
            raise ValueError(f"{opcode.name} {argument} reaches beyond its {count} instructions")


def _plain(value: object) -> object:
    return value.as_bytes() if isinstance(value, _Array) else value


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def texts(values: object) -> tuple[str, ...]:
    """A pickled list of names; empty when it is none."""
    return tuple(_text(value) for value in values) if isinstance(values, list) else ()
