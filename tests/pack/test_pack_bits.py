import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp_loop.formats import bits


@st.composite
def word_lists(draw: st.DrawFn) -> tuple[list[int], int]:
    width = draw(st.integers(0, 32))
    words = draw(st.lists(st.integers(0, (1 << width) - 1), max_size=70))
    return words, width


@given(word_lists())
def test_round_trip(case: tuple[list[int], int]) -> None:
    words, width = case
    stream = bits.pack_bits(words, width)
    assert stream.size == (len(words) * width + 7) // 8
    assert bits.unpack_bits(stream, width, len(words)).tolist() == words


@given(word_lists())
def test_stream_is_the_words_as_one_little_endian_number(case: tuple[list[int], int]) -> None:
    words, width = case
    number = sum(word << (i * width) for i, word in enumerate(words))
    assert int.from_bytes(bits.pack_bits(words, width).tobytes(), "little") == number


@pytest.mark.parametrize("width", [1, 2, 5, 31, 32])
def test_round_trip_over_several_chunks(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "_CHUNK", 64)
    words = np.random.default_rng(width).integers(0, 1 << width, 1000, dtype=np.uint64)
    stream = bits.pack_bits(words, width)
    number = sum(int(word) << (i * width) for i, word in enumerate(words))
    assert int.from_bytes(stream.tobytes(), "little") == number
    assert (bits.unpack_bits(stream, width, 1000) == words).all()


@pytest.mark.parametrize(
    ("values", "width"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (36, 6), (64, 6), (65, 7)]
)
def test_width_for(values: int, width: int) -> None:
    assert bits.width_for(values) == width


def test_refusals() -> None:
    with pytest.raises(ValueError, match="holds 0 to 3"):
        bits.pack_bits([4], 2)
    with pytest.raises(ValueError, match="holds 0 to 0"):
        bits.pack_bits([1], 0)
    with pytest.raises(ValueError, match="holds 0 to"):
        bits.pack_bits([-1], 32)
    with pytest.raises(ValueError, match="0 to 32 bits"):
        bits.pack_bits([0], 33)
    with pytest.raises(ValueError, match="take 2 bytes"):
        bits.unpack_bits(np.zeros(1, np.uint8), 3, 3)
    with pytest.raises(ValueError, match="beyond the last word"):
        bits.unpack_bits(np.array([0x80], np.uint8), 3, 2)
