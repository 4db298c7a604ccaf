"""Mutated packed files: every one is refused in one sentence, or means what it says.

    python tests/pack/fuzz_packed.py [--files 10000] [--seed 0]

A mutation of the bytes, or of the header under its old seal, may be read only if it changed nothing
of what the file means (spaces between JSON tokens, say): model, layers and every byte of the
state dict are the original's. Whoever changes the header *and* seals it again writes a file of
their own, which may be read if it fits itself: the network that was read, written once more, reads
as the same.
Reading takes no more memory than the container promises, whatever a header says.

Prints how many files of each kind were refused and read; exits with 1 at the first that breaks
a rule, whose bytes are kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import sha256
from crisp_loop.core.pattern import NM
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.formats.nm import NMMatrix
from crisp_loop.pack.container import (
    EXPANSION,
    PackedLayer,
    PackedNetwork,
    read_packed,
    write_packed,
)
from crisp_loop.pack.header import FORMAT

JUNK: list[Any] = [
    None, True, -1, 0, 1, 2, 3, 4, 8, 16, 64, 1 << 20, 1 << 31, 1 << 40, 1 << 63, 1 << 100,
    -(1 << 63), 0.5, 1e308, "", "x", "a\nb", "\ud800", "../x", "y" * 5000, "1:4", "2:4", "4:4",
    "9999:9999", "0:4",
    "dense", "nm", "hybrid", [], {}, [1], [[]], {"a": 1}, [16, 16], [1 << 30, 1 << 30], [-1, 4],
    "U8", "I8", "F32", "F64", "BF16", "BOOL", "F8_E4M3", [0, 0], [0, 1 << 62],
]  # fmt: skip


def original_network() -> PackedNetwork:
    """Small, with every form: dense, N:M, hybrid, padded, blocks alone; and other tensors."""
    rng = np.random.default_rng(0)

    def mask(shape: tuple[int, int], nm: NM, block: int, kept: int) -> Any:
        order = rng.random((shape[0], shape[1] // nm.m, nm.m)).argsort(axis=2).argsort(axis=2)
        grid = (-(-shape[0] // block), -(-shape[1] // block))
        alive = rng.random(grid).argsort(axis=1).argsort(axis=1) < kept
        wide = alive.repeat(block, axis=0).repeat(block, axis=1)[: shape[0], : shape[1]]
        return (order < nm.n).reshape(shape) & wide

    def weights(shape: tuple[int, int]) -> Any:
        return rng.standard_normal(shape, dtype=np.float32)

    def hybrid(shape: tuple[int, int], nm: NM, kept: int) -> HybridMatrix:
        return HybridMatrix.encode(mask(shape, nm, 16, kept), weights(shape), nm, 16)

    plain = mask((8, 24), NM(2, 4), 24, 1)
    layers = (
        PackedLayer("stem", (4, 3, 3, 3), rng.standard_normal((4, 3, 3, 3), dtype=np.float32)),
        PackedLayer("body", (32, 16, 3, 3), hybrid((32, 144), NM(2, 4), 3)),
        PackedLayer("odd", (20, 44), hybrid((20, 44), NM(1, 4), 2)),
        PackedLayer("blocks", (32, 48), hybrid((32, 48), NM(4, 4), 1)),
        PackedLayer("nm", (8, 24), NMMatrix.encode(plain, weights((8, 24)), NM(2, 4))),
    )
    others = {"norm.weight": np.ones(4, np.float32), "norm.steps": np.array(3, np.int64)}
    return PackedNetwork("fuzzed", layers, others)


def meaning(network: PackedNetwork) -> tuple[object, ...]:
    """All that a network says, comparable."""
    state = network.state_dict()
    return (
        network.model,
        tuple((layer.name, layer.form, layer.shape) for layer in network.layers),
        tuple((key, a.dtype.str, a.shape, a.tobytes()) for key, a in sorted(state.items())),
    )


# ---- mutations -----------------------------------------------------------------------------

Rng = np.random.Generator


def split(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The library's header, ours inside it, and the tensors' bytes."""
    size = int.from_bytes(data[:8], "little")
    outer = json.loads(data[8 : 8 + size])
    inner = json.loads(json.loads(outer["__metadata__"][FORMAT])["header"])
    return outer, inner, data[8 + size :]


def join(outer: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(outer).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def sealed(outer: dict[str, Any], inner: object, body: bytes) -> bytes:
    """A file with this header under a seal that fits."""
    text = json.dumps(inner, separators=(",", ":"))
    outer["__metadata__"] = {FORMAT: json.dumps({"seal": sha256(text), "header": text})}
    return join(outer, body)


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    items = list(node.items() if isinstance(node, dict) else enumerate(node))
    for key, value in items:
        found.append((node, key))
        if isinstance(value, dict | list):
            found += places(value)
    return found


def edit(node: Any, rng: Rng) -> None:
    """Change one place of a JSON value: junk in it, away with it, or what another place holds."""
    all_places = places(node)
    if not all_places:
        return
    where, key = all_places[rng.integers(len(all_places))]
    choice = rng.integers(5)
    if choice == 0:
        del where[key]
    elif choice == 1:
        other, its = all_places[rng.integers(len(all_places))]
        where[key] = json.loads(json.dumps(other[its]))
    elif choice == 2 and isinstance(where, list):
        where.insert(key, json.loads(json.dumps(where[rng.integers(len(where))])))
    elif choice == 3 and type(where[key]) is int:
        where[key] += int(rng.choice([-1, 1, 8, 16, 1 << 33]))
    else:
        where[key] = json.loads(json.dumps(JUNK[rng.integers(len(JUNK))]))


def flip(data: bytes, rng: Rng) -> bytes:
    """Some bits of some bytes, in the header as often as in the tensors."""
    changed = bytearray(data)
    size = int.from_bytes(data[:8], "little")
    span = (0, 8 + size) if rng.random() < 0.5 else (8 + size, len(data))
    for _ in range(rng.integers(1, 9)):
        changed[rng.integers(*span)] ^= 1 << rng.integers(8)
    return bytes(changed)


def truncate(data: bytes, rng: Rng) -> bytes:
    return data[: rng.integers(len(data))]


def lengthen(data: bytes, rng: Rng) -> bytes:
    at = len(data) if rng.random() < 0.5 else int(rng.integers(len(data)))
    return data[:at] + rng.bytes(int(rng.integers(1, 100))) + data[at:]


def shorten(data: bytes, rng: Rng) -> bytes:
    at = rng.integers(len(data))
    return data[:at] + data[at + rng.integers(1, 100) :]


def overwrite(data: bytes, rng: Rng) -> bytes:
    at, count = rng.integers(len(data)), rng.integers(1, 65)
    filler = bytes([int(rng.choice([0, 255, 32, 34]))]) * len(data[at : at + count])
    return data[:at] + filler + data[at + count :]


def huge_length(data: bytes, rng: Rng) -> bytes:
    sizes = [0, 1, 2**31, 2**40, 2**62, int(rng.integers(2**32))]
    size = sizes[rng.integers(len(sizes))]
    return size.to_bytes(8, "little") + data[8:]


def layout(data: bytes, rng: Rng) -> bytes:
    """The library's header: types, shapes, offsets and names of tensors."""
    outer, _, body = split(data)
    tensors = {name: entry for name, entry in outer.items() if name != "__metadata__"}
    names = list(tensors)
    one, two = (names[i] for i in rng.integers(len(names), size=2))
    choice = rng.integers(4)
    if choice == 0:
        outer[one], outer[two] = outer[two], outer[one]
    elif choice == 1:
        field = str(rng.choice(["dtype", "shape", "data_offsets"]))
        outer[one][field], outer[two][field] = outer[two][field], outer[one][field]
    elif choice == 2:
        outer["new"] = outer.pop(one)
    else:
        edit(tensors, rng)
        outer = {"__metadata__": outer["__metadata__"], **tensors}
    return join(outer, body)


def unsealed(data: bytes, rng: Rng) -> bytes:
    """Our header changed under its old seal; at times, just its spaces."""
    outer, inner, body = split(data)
    wrapper = json.loads(outer["__metadata__"][FORMAT])
    choice = rng.integers(4)
    if choice == 0:
        edit(wrapper, rng)
        outer["__metadata__"][FORMAT] = json.dumps(wrapper)
    elif choice == 1:
        outer["__metadata__"][FORMAT] = json.dumps(wrapper, indent=int(rng.integers(4)))
    elif choice == 2:
        edit(outer["__metadata__"], rng)
    else:
        edit(inner, rng)
        wrapper["header"] = json.dumps(inner, separators=(",", ":"))
        outer["__metadata__"][FORMAT] = json.dumps(wrapper)
    return join(outer, body)


def resealed(data: bytes, rng: Rng) -> bytes:
    """Our header changed, and sealed again."""
    outer, inner, body = split(data)
    for _ in range(rng.integers(1, 4)):
        layers = inner.get("layers")
        edit(layers if isinstance(layers, list) and rng.random() < 0.6 else inner, rng)
    return sealed(outer, inner, body)


def forged(data: bytes, rng: Rng) -> bytes:
    """Tensors' bytes or types changed, with hashes and seal that fit; at times the header too."""
    outer, inner, body = split(data)
    names = [name for name in outer if name != "__metadata__"]
    name = str(rng.choice([n for n in names if "." in n and n.split(".")[-1] in MARKED] + names))
    first, last = outer[name]["data_offsets"]
    changed = bytearray(body)
    if rng.random() < 0.3:
        outer[name]["dtype"] = str(rng.choice(["U8", "I8", "BOOL", "F16", "I32", "F32", "BF16"]))
    for _ in range(rng.integers(0, 4)):
        if last > first:
            changed[rng.integers(first, last)] ^= 1 << rng.integers(8)
    types = {"F32": "<f4", "I64": "<i8", "U8": "|u1", "I8": "|i1", "BOOL": "|b1", "F16": "<f2"}
    types["I32"] = "<i4"
    kind = types.get(outer[name]["dtype"], "?")
    text = f"{kind}{tuple(outer[name]['shape'])}".encode() + bytes(changed[first:last])
    inner["sha256"][name] = sha256(text)
    if rng.random() < 0.2:
        edit(inner["layers"], rng)
    return sealed(outer, inner, bytes(changed))


MARKED = ("offsets", "block_indices", "values")
BYTES = (flip, truncate, lengthen, shorten, overwrite, huge_length, layout, unsealed)
SEALED = (resealed, forged)
MUTATIONS: tuple[Callable[[bytes, Rng], bytes], ...] = (*BYTES, *SEALED)


# ---- what a reader may do ------------------------------------------------------------------

PEAK = [0]
"""The most memory that reading a file took, in bytes."""


def outcome(path: Path, kind: Callable[..., bytes], original: PackedNetwork) -> str:
    """``refused`` or ``read``.

    Raises:
        AssertionError: the reader broke a rule; any other error but CrispLoopError does as well.
    """
    tracemalloc.reset_peak()
    try:
        network = read_packed(path)
    except CrispLoopError as error:
        sentence = str(error)
        assert "\n" not in sentence, sentence
        assert len(sentence) < 1000, sentence
        return "refused"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        PEAK[0] = max(PEAK[0], peak)
        # Decoding copies a layer once or twice: O, I, H, W in another order, and padding.
        allowed = 4 * (EXPANSION * path.stat().st_size + (64 << 20))
        assert peak < allowed, f"took {peak:,} bytes"
    if kind in SEALED:
        again = path.with_suffix(".again")
        write_packed(again, network)
        assert meaning(read_packed(again)) == meaning(network), "does not fit itself"
    else:
        assert meaning(network) == meaning(original), "was read as something else"
    return "read"


def run(files: int, seed: int, folder: Path) -> Counter[str]:
    """Mutate and read; the counts of each kind and outcome."""
    original = original_network()
    good = folder / "good.safetensors"
    write_packed(good, original)
    assert meaning(read_packed(good)) == meaning(original)
    data = good.read_bytes()
    bad = folder / "bad.safetensors"
    counts: Counter[str] = Counter()
    tracemalloc.start()
    try:
        for i in range(files):
            rng = np.random.default_rng([seed, i])
            kind = MUTATIONS[i % len(MUTATIONS)]
            changed = data
            while changed == data:  # some mutations write what was there
                changed = kind(data, rng)
            bad.write_bytes(changed)
            try:
                counts[f"{kind.__name__}: {outcome(bad, kind, original)}"] += 1
            except Exception as error:
                raise AssertionError(
                    f"file {i} of seed {seed} ({kind.__name__}): {error!r}"
                ) from error
    finally:
        tracemalloc.stop()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-packed-"))
    try:
        counts = run(options.files, options.seed, folder)
    except AssertionError as error:
        sys.exit(f"{error}; see {folder}/bad.safetensors")
    for name, count in sorted(counts.items()):
        print(f"{name:<24} {count:7,}")
    refused = sum(count for name, count in counts.items() if name.endswith("refused"))
    print(f"{options.files:,} files: {refused:,} refused, {options.files - refused:,} read")
    print(f"most memory that reading one took: {PEAK[0]:,} bytes")


if __name__ == "__main__":
    main()
