"""The packed file: what mutated ones do, reading layer by layer, and what a header may cost."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import fuzz_packed
import numpy as np
import pytest

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.pattern import NM
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.pack import container
from crisp_loop.pack.container import (
    PackedLayer,
    PackedNetwork,
    open_packed,
    read_packed,
    write_packed,
)


def test_mutated_files_are_refused_or_mean_the_same(tmp_path: Path) -> None:
    counts = fuzz_packed.run(500, seed=2, folder=tmp_path)
    assert sum(counts.values()) == 500
    for kind in ("flip", "truncate", "lengthen", "shorten", "overwrite", "huge_length"):
        assert counts[f"{kind}: refused"] >= 49, counts
    # A layout or a JSON text can be written otherwise and mean the same; most changes do not.
    for kind in fuzz_packed.MUTATIONS:
        assert counts[f"{kind.__name__}: refused"] > 10, counts
    assert counts["forged: read"] > 5, counts
    assert counts["unsealed: read"] > 5, counts


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "packed.safetensors"
    write_packed(path, fuzz_packed.original_network())
    return path


def test_layers_are_views_of_the_file(packed: Path) -> None:
    original = fuzz_packed.original_network()
    file = open_packed(packed)
    assert file.model == "fuzzed"
    assert list(file.layers) == [layer.name for layer in original.layers]
    assert file.layers["body"].kept_blocks == 3
    data = packed.read_bytes()
    for layer in original.layers:
        read = file.layer(layer.name)
        assert read.decode().tobytes() == layer.decode().tobytes()
        values = read.stored if isinstance(read.stored, np.ndarray) else read.stored.values
        assert not values.flags.writeable
        assert not values.flags.owndata
        assert values.tobytes() in data
    assert file.other("norm.steps") == 3
    for ask in (lambda: file.layer("norm"), lambda: file.other("body")):
        with pytest.raises(CrispLoopError, match="cannot be used; the "):
            ask()


def test_a_read_network_is_its_own(packed: Path) -> None:
    network = read_packed(packed)
    packed.unlink()
    for layer in network.layers:
        stored = layer.stored
        arrays = (stored,) if isinstance(stored, np.ndarray) else (stored.values, stored.offsets)
        assert all(array.flags.owndata for array in arrays)
        assert all(array.flags.writeable for array in arrays)


def test_opening_reads_no_values_and_damage_is_found_layer_by_layer(packed: Path) -> None:
    data = bytearray(packed.read_bytes())
    values = open_packed(packed).layer("body").stored.values.tobytes()  # type: ignore[union-attr]
    at = bytes(data).index(values)
    data[at] ^= 1
    packed.write_bytes(data)
    file = open_packed(packed)
    assert file.layer("odd").decode().shape == (20, 44)
    with pytest.raises(CrispLoopError, match=r"'body.weight.values' is not what was written"):
        file.layer("body")
    unverified = file.layer("body", verify=False).stored
    assert unverified.values.tobytes() != values  # type: ignore[union-attr]
    with pytest.raises(CrispLoopError, match="is not what was written"):
        read_packed(packed)


def change(path: Path, **fields: object) -> None:
    """Seal other fields of layer ``body`` into the file."""
    outer, inner, body = fuzz_packed.split(path.read_bytes())
    (layer,) = (entry for entry in inner["layers"] if entry["name"] == "body")
    layer.update(fields)
    path.write_bytes(fuzz_packed.sealed(outer, inner, body))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"shape": [1 << 40, 1 << 40]}, "values shaped"),
        ({"shape": [32, 0, 3, 3]}, "greater than or equal to 1"),
        ({"shape": [32, 144, 1]}, "expected two or four sides"),
        ({"block": None}, "is hybrid, which its nm, block and kept_blocks do not fit"),
        ({"form": "nm", "block": None, "kept_blocks": None}, "values shaped"),
        ({"name": "a\nb"}, r"layer 'a\\nb' lacks"),
    ],
)
def test_headers_that_do_not_fit(packed: Path, fields: dict[str, object], sentence: str) -> None:
    change(packed, **fields)
    for read in (open_packed, read_packed):
        with pytest.raises(CrispLoopError, match=sentence) as caught:
            read(packed)
        assert "\n" not in str(caught.value)


def test_a_small_file_cannot_ask_for_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing kept of a huge layer takes no bytes, and would decode to any size."""
    nothing = HybridMatrix(
        np.zeros((1 << 12, 16, 0, 2), np.float32),
        np.zeros(0, np.uint8),
        np.zeros(0, np.uint8),
        (1 << 16, 1 << 16),
        NM(2, 4),
        16,
        0,
    )
    path = tmp_path / "huge.safetensors"
    network = PackedNetwork("huge", (PackedLayer("a", (1 << 16, 1 << 16), nothing),))
    with pytest.raises(CrispLoopError, match=r"cannot be written: decoded, its layers take 17,179"):
        write_packed(path, network)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(container, "EXPANSION", 1 << 40)
    write_packed(path, network)
    monkeypatch.undo()
    tracemalloc.start()
    try:
        with pytest.raises(CrispLoopError, match=r"would take 17,179,869,184 bytes, more than 256"):
            read_packed(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_types_that_numpy_lacks_are_named(packed: Path) -> None:
    outer, _, body = fuzz_packed.split(packed.read_bytes())
    outer["norm.weight"]["dtype"] = "BF16"
    outer["norm.weight"]["shape"] = [8]
    packed.write_bytes(fuzz_packed.join(outer, body))
    with pytest.raises(CrispLoopError, match=r"expected tensors of BOOL, .*, not BF16\."):
        read_packed(packed)


def test_version_one_files_stay_readable(packed: Path) -> None:
    """Version 1 as it was first written: the header's fields and the tensors' names."""
    outer, inner, _ = fuzz_packed.split(packed.read_bytes())
    assert set(inner) == {"format", "version", "model", "layers", "sha256"}
    assert inner["version"] == 1
    assert set(inner["layers"][1]) == {"name", "form", "shape", "nm", "block", "kept_blocks"}
    assert {name for name in outer if name.startswith("body")} == {
        "body.weight.values",
        "body.weight.block_indices",
        "body.weight.offsets",
    }
