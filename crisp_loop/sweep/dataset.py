"""The results: one Parquet file a part, written whole or not at all, and sealed with a hash."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import replacing, sha256

POINT = "point"
FAILURE = "failure"
POINT_FIGURES = pa.schema(
    [
        (FAILURE, pa.string()),
        ("layers", pa.int32()),
        ("macs", pa.int64()),
        ("weight_sparsity", pa.float64()),
        ("cycles_model", pa.int64()),
        ("cycles", pa.int64()),
        ("energy_uJ", pa.float64()),
        ("edp", pa.float64()),
        ("dram_words", pa.int64()),
        ("smem_words", pa.int64()),
        ("metadata_bits", pa.int64()),
        ("accuracy", pa.float64()),
        ("accuracy_dense", pa.float64()),
        ("accuracy_finetuned", pa.float64()),
        ("accuracy_val", pa.float64()),
        ("sparsity_prunable", pa.float64()),
        ("parameters_kept", pa.int64()),
        ("run", pa.string()),
        ("engine_version", pa.string()),
        ("version", pa.string()),
    ]
)
"""What is known of a point when it is finished; docs/sweep.md says what each column means."""
LAYER_FIGURES = pa.schema(
    [
        (POINT, pa.string()),
        ("layer", pa.string()),
        ("M", pa.int64()),
        ("K", pa.int64()),
        ("N", pa.int64()),
        ("groups", pa.int32()),
        ("N_padding", pa.int64()),
        ("form", pa.string()),
        ("weight_density", pa.float64()),
        ("activation_density", pa.float64()),
        ("cycles_model", pa.int64()),
        ("cycles", pa.int64()),
        ("energy_uJ", pa.float64()),
        ("edp", pa.float64()),
        ("utilization", pa.float64()),
        ("bottleneck", pa.string()),
        ("dram_words", pa.int64()),
        ("smem_words", pa.int64()),
        ("metadata_bits", pa.int64()),
        ("mapping", pa.string()),
    ]
)
POINTS, LAYERS, FORMER = "points", "layers", "former"
UNFINISHED = ".unfinished"
_SEAL, _LAYERS = b"crisp_loop.points", b"crisp_loop.layers"
"""Metadata of a part's points: a hash of their values, and that of the file of their layers."""


@dataclass(frozen=True)
class Dataset:
    """The directories of a sweep's results."""

    root: Path

    @property
    def points(self) -> Path:
        """One row a point."""
        return self.root / POINTS

    @property
    def layers(self) -> Path:
        """One row a layer of a point."""
        return self.root / LAYERS

    @property
    def former(self) -> Dataset:
        """What an earlier form of the sweep left here; its points are used, but not shown."""
        return Dataset(self.root / FORMER)

    def write(self, name: str, points: pa.Table, layers: pa.Table | None) -> None:
        """Write a part. Its points come last: where they are, the part is whole.

        Raises:
            CrispLoopError: the disk is full, or the place cannot be written.
        """
        held = b""
        if layers is not None:
            held = self._write(self.layers / f"{name}.parquet", layers)
        seal = {_SEAL: _hash_of(name, held, points), _LAYERS: held}
        self._write(self.points / f"{name}.parquet", points.replace_schema_metadata(seal))

    def _write(self, path: Path, table: pa.Table) -> bytes:
        """Write one file; returns its hash."""
        # Not beside it: who reads *.parquet may not see what a killed process left of a file.
        with replacing(path, self.root / UNFINISHED) as temporary:
            pq.write_table(table, temporary, compression="zstd", store_schema=True)
            return sha256(temporary.read_bytes()).encode()

    def tidy(self) -> None:
        """Remove what killed processes left; only while no other process writes here."""
        shutil.rmtree(self.root / UNFINISHED, ignore_errors=True)

    def read(self, name: str, layers: bool) -> tuple[pa.Table, pa.Table | None] | None:
        """A part's points and layers; None where it is not whole, as it was written."""
        points = _read(self.points / f"{name}.parquet")
        if points is None:
            return None
        told = points.schema.metadata or {}
        held = told.get(_LAYERS, b"")
        if told.get(_SEAL) != _hash_of(name, held, points):
            return None
        if not layers:
            return points, None
        rows = _read(self.layers / f"{name}.parquet", hashed=held) if held else None
        return None if rows is None else (points, rows)

    def parts(self) -> list[str]:
        """Names of the parts that are here."""
        return sorted(file.stem for file in self.points.glob("*.parquet"))

    def set_aside(self, names: Iterable[str]) -> None:
        """Move parts to :attr:`former`.

        Raises:
            CrispLoopError: the place cannot be written.
        """
        for name in names:
            # The points first: without them, layers are of no use and are written anew.
            for here, there in (
                (self.points, self.former.points),
                (self.layers, self.former.layers),
            ):
                file = here / f"{name}.parquet"
                try:
                    if file.is_file():
                        there.mkdir(parents=True, exist_ok=True)
                        file.replace(there / file.name)
                except OSError as error:
                    raise CrispLoopError(
                        f"{file} cannot be moved: {error.strerror or error}."
                    ) from None


def _read(path: Path, columns: Sequence[str] | None = None, hashed: bytes = b"") -> pa.Table | None:
    """A file's table, if it is there and can be read, and has this hash."""
    try:
        data = path.read_bytes()
        if hashed and sha256(data).encode() != hashed:
            return None
        # One thread: a sweep has processes enough.
        return pq.ParquetFile(pa.BufferReader(data)).read(columns, use_threads=False)
    # A damaged header can make the library raise any of these.
    except (OSError, ValueError, KeyError, MemoryError, pa.ArrowException):
        return None


def _hash_of(part: str, layers: bytes, table: pa.Table) -> bytes:
    """Hash of a part's name, the hash of its layers, and its points, however they lie in memory."""
    digest = hashlib.sha256(f"{part}\n{layers!r}\n".encode())
    for column in table.schema:
        values = table[column.name]
        digest.update(f"{column.name}: {column.type}, {values.null_count} null\n".encode())
        if pa.types.is_string(column.type):
            digest.update(json.dumps(values.to_pylist()).encode())
        else:
            digest.update(values.is_valid().to_numpy().tobytes())
            digest.update(values.fill_null(0).to_numpy().tobytes())
    return digest.hexdigest().encode()


@dataclass(frozen=True, eq=False)
class Known:
    """Points that are finished already, in other parts than those of the sweep's own plan."""

    homes: tuple[tuple[Dataset, str], ...]
    """The parts that hold them."""
    keys: np.ndarray
    """Sorted keys, bytes."""
    home: np.ndarray
    """Which part holds each."""

    @classmethod
    def of(cls, parts: Iterable[tuple[Dataset, str]]) -> Known:
        """The points of some parts that did not fail; unreadable parts hold none."""
        homes: list[tuple[Dataset, str]] = []
        found: list[np.ndarray] = []
        for place, name in parts:
            table = _read(place.points / f"{name}.parquet", [POINT, FAILURE])
            if table is not None:
                sound = table.filter(pc.field(FAILURE).is_null())
                found.append(np.array(sound[POINT].to_pylist(), dtype="S32"))
                homes.append((place, name))
        keys = np.concatenate([np.empty(0, dtype="S32"), *found])
        home = np.repeat(np.arange(len(found)), [len(each) for each in found])
        order = np.argsort(keys, kind="stable")
        return cls(tuple(homes), keys[order], home[order])

    def count(self, keys: Sequence[str]) -> int:
        """How many of ``keys`` are known."""
        return int(np.isin(np.array(keys, dtype="S32"), self.keys).sum())

    def rows(self, keys: Sequence[str], layers: bool) -> Iterator[tuple[pa.Table, pa.Table | None]]:
        """Figures of those of ``keys`` that are known; a part that is damaged gives none.

        Args:
            keys: Of points.
            layers: Whether their layers are wanted too.
        """
        wanted = np.unique(np.array(keys, dtype="S32"))
        start = np.searchsorted(self.keys, wanted, "left")
        end = np.searchsorted(self.keys, wanted, "right")
        homes = {int(home) for a, b in zip(start, end, strict=True) for home in self.home[a:b]}
        asked = pa.array(wanted.astype(str).tolist(), pa.string())
        for number in sorted(homes):
            place, name = self.homes[number]
            if found := place.read(name, layers):
                points, rows = sound_rows(*found)
                points = points.filter(pc.field(POINT).isin(asked))
                if rows is not None:
                    rows = rows.filter(pc.field(POINT).isin(asked))
                yield points, rows


def sound_rows(points: pa.Table, layers: pa.Table | None) -> tuple[pa.Table, pa.Table | None]:
    """Figures of a part's points that did not fail, and of their layers."""
    figures = points.select([POINT, *POINT_FIGURES.names])
    return figures.filter(pc.field(FAILURE).is_null()), layers


def in_order(table: pa.Table, places: Mapping[str, int]) -> pa.Table:
    """A table with its rows in the order of their points, key to place."""
    at = np.array([places[key] for key in table[POINT].to_pylist()], dtype=np.int64)
    return table.take(pa.array(np.argsort(at, kind="stable")))


def labelled(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, pa.DataType], figures: pa.Table
) -> pa.Table:
    """The table of a part's points: key, what tells them apart, and their figures.

    Args:
        rows: Column to value, a point each.
        columns: Their columns with their types, in order.
        figures: Key and :data:`POINT_FIGURES` of the same points.
    """
    arrays = {POINT: figures[POINT]}
    for column, kind in columns.items():
        values = [row.get(column) for row in rows]
        if kind == pa.string():
            values = [None if value is None else str(value) for value in values]
        arrays[column] = pa.array(values, kind)
    for name in POINT_FIGURES.names:
        arrays[name] = figures[name]
    return pa.table(arrays)


def column_type(values: Iterable[Any]) -> pa.DataType:
    """The type of a column with these values; those of several kinds are text."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.string()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds <= {int, float} else pa.string()


def read_points(root: Path) -> pd.DataFrame:
    """All points of the results in ``root``, in the sweep's order.

    Raises:
        CrispLoopError: there are none.
    """
    return _all(Dataset(root), layers=False)


def read_layers(root: Path) -> pd.DataFrame:
    """All layers of the results in ``root``, in the sweep's order.

    Raises:
        CrispLoopError: there are none.
    """
    return _all(Dataset(root), layers=True)


def _all(data: Dataset, layers: bool) -> pd.DataFrame:
    tables = []
    for name in data.parts():
        found = data.read(name, layers)
        if found is None:
            raise CrispLoopError(
                f"{data.root}: part {name} is damaged; run the sweep again, which mends it."
            )
        tables.append(found[1] if layers else found[0])
    if not tables:
        raise CrispLoopError(f"{data.root} holds no results; expected the directory of a sweep.")
    return pa.concat_tables(tables, promote_options="permissive").to_pandas()
