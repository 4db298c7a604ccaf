"""Words of any width from 0 to 32 bits in a stream of bytes, without padding between them.

Word i lies at bits ``i * width`` to ``(i + 1) * width - 1``; bit b of the stream is bit
``b % 8`` of byte ``b // 8``, counted from the least significant. Only the last byte is padded,
with zeros.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_WIDTH = 32
_CHUNK = 1 << 18
"""Words handled at once: a multiple of 8, so that every chunk starts on a whole byte."""

Words = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]


def width_for(values: int) -> int:
    """Bits that tell ``values`` things apart: ceil(log2(values)), 0 for one thing or none."""
    return max(values - 1, 0).bit_length()


def packed_size(count: int, width: int) -> int:
    """Bytes that ``count`` words of ``width`` bits take."""
    return (count * width + 7) // 8


def pack_bits(words: npt.ArrayLike, width: int) -> Bytes:
    """``words`` as a packed stream.

    Args:
        words: Whole numbers, each less than ``2**width``; flattened in C order.
        width: Bits a word, 0 to 32.

    Raises:
        ValueError: a word that ``width`` bits cannot hold, or a width out of range.
    """
    _check_width(width)
    flat = np.asarray(words).reshape(-1)
    if flat.size and (int(flat.min()) < 0 or int(flat.max()) >> width):
        raise ValueError(f"a word of {width} bits holds 0 to {(1 << width) - 1}")
    stream = np.empty(packed_size(flat.size, width), dtype=np.uint8)
    for start in range(0, flat.size if width else 0, _CHUNK):
        part = np.ascontiguousarray(flat[start : start + _CHUNK], dtype="<u4").view(np.uint8)
        bits = np.unpackbits(part.reshape(-1, 4), axis=1, count=width, bitorder="little")
        packed = np.packbits(bits, bitorder="little")
        first = start * width // 8
        stream[first : first + packed.size] = packed
    return stream


def unpack_bits(stream: Bytes, width: int, count: int) -> Words:
    """The first ``count`` words of a stream that :func:`pack_bits` made.

    Raises:
        ValueError: a stream of another length than ``count`` words take, or with bits set in
            its padding.
    """
    check_size(stream, width, count)
    words = np.zeros(count, dtype="<u4")
    for start in range(0, count if width else 0, _CHUNK):
        size = min(_CHUNK, count - start)
        first = start * width // 8
        part = stream[first : first + packed_size(size, width)]
        bits = np.unpackbits(part, bitorder="little")
        if bits[size * width :].any():
            raise ValueError("bits are set beyond the last word")
        wide = np.packbits(bits[: size * width].reshape(size, width), axis=1, bitorder="little")
        words.view(np.uint8).reshape(-1, 4)[start : start + size, : wide.shape[1]] = wide
    return words.astype(np.uint32, copy=False)


def check_size(stream: Bytes, width: int, count: int) -> None:
    """Whether a stream is as long as ``count`` words take.

    Raises:
        ValueError: it is not.
    """
    _check_width(width)
    if stream.dtype != np.uint8 or stream.shape != (packed_size(count, width),):
        raise ValueError(
            f"{count} words of {width} bits take {packed_size(count, width)} bytes,"
            f" not {stream.size}"
        )


def _check_width(width: int) -> None:
    if not 0 <= width <= MAX_WIDTH:
        raise ValueError(f"a word has 0 to {MAX_WIDTH} bits, not {width}")
