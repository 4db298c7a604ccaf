"""The figures of points and of their layers as Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from crisp_loop import __version__
from crisp_loop.accelerators import Accelerator
from crisp_loop.sparseloop.columns import IntArray
from crisp_loop.sweep.dataset import FAILURE, LAYER_FIGURES, POINT, POINT_FIGURES, in_order
from crisp_loop.sweep.networks import Lowered
from crisp_loop.sweep.pricing import Prepared, Prices

OUTER, SHARED = "DRAM", "SMEM"
"""Levels whose traffic is told, as in a results table."""
_KEYED = pa.schema([(POINT, pa.string()), *POINT_FIGURES])


@dataclass(frozen=True)
class Batch:
    """Points that are priced together."""

    designs: Mapping[int, Accelerator]
    """By number, as in the task."""
    settings: Mapping[int, Lowered]
    points: Mapping[tuple[int, int], str]
    """(setting, design) to the point's key; not every pair needs to be wanted."""


class Tables:
    """The tables of a task, which come together batch by batch."""

    def __init__(self, keys: Sequence[str], layers: bool) -> None:
        """``layers``: whether the figures of layers are wanted."""
        self._places = {key: at for at, key in enumerate(keys)}
        self._wanted = layers
        self._points: list[pa.Table] = [_KEYED.empty_table()]
        self._layers: list[pa.Table] = [LAYER_FIGURES.empty_table()]

    def fail(self, reasons: Mapping[str, str]) -> None:
        """Add points that cannot be priced, key to reason."""
        if reasons:
            self._points.append(failed(reasons))

    def add(self, batch: Batch, prepared: Prepared, prices: Prices) -> None:
        """Add the points of a batch."""
        whys = [_why(numbers, prices) for numbers in prepared.numbers]
        rows = {i: row for row, i in enumerate(batch.settings)}
        columns = {j: column for column, j in enumerate(batch.designs)}
        self.fail({key: whys[rows[i]] for (i, _), key in batch.points.items() if whys[rows[i]]})
        sound = [
            (key, rows[i], columns[j]) for (i, j), key in batch.points.items() if not whys[rows[i]]
        ]
        if not sound:
            return
        keys, row, column = (list(each) for each in zip(*sound, strict=True))
        figures = _Figures(
            [
                (setting, numbers)
                for setting, numbers in zip(batch.settings.values(), prepared.numbers, strict=True)
                if not isinstance(numbers, str)
            ],
            prices,
        )
        # Settings that no mode takes are none of the figures'.
        kept = [at for at, numbers in enumerate(prepared.numbers) if not isinstance(numbers, str)]
        place = {at: number for number, at in enumerate(kept)}
        s, d = np.array([place[at] for at in row]), np.array(column)
        self._points.append(figures.points(keys, s, d))
        if self._wanted:
            self._layers.append(figures.layers(keys, s, d))

    def in_order(self) -> tuple[pa.Table, pa.Table | None]:
        """Points, and layers if they are wanted, in the order of the task's keys."""
        return (
            in_order(pa.concat_tables(self._points), self._places),
            in_order(pa.concat_tables(self._layers), self._places) if self._wanted else None,
        )


def failed(reasons: Mapping[str, str]) -> pa.Table:
    """The table of points that cannot be priced, key to reason."""
    told: dict[str, Any] = {field.name: pa.nulls(len(reasons), field.type) for field in _KEYED}
    told[POINT] = pa.array(list(reasons), pa.string())
    told[FAILURE] = pa.array(list(reasons.values()), pa.string())
    told["version"] = pa.array([__version__] * len(reasons), pa.string())
    return pa.table(told, schema=_KEYED)


def _why(numbers: IntArray | str, prices: Prices) -> str:
    """Why a setting has no price on a batch's designs; empty where it has one."""
    if isinstance(numbers, str):
        return numbers
    return next((prices.refusals[i] for i in numbers.tolist() if prices.refusals[i]), "")


class _Figures:
    """The figures of settings on designs."""

    def __init__(self, settings: Sequence[tuple[Lowered, IntArray]], prices: Prices) -> None:
        self.settings = [setting for setting, _ in settings]
        self.prices = prices
        self.problem = np.concatenate([numbers for _, numbers in settings])
        """The problem of each layer, all settings' layers in a row."""
        self.lengths = np.array([len(numbers) for _, numbers in settings])
        self.starts = np.cumsum(self.lengths) - self.lengths

    def points(self, keys: list[str], s: IntArray, d: IntArray) -> pa.Table:
        """One row a point; ``s`` and ``d`` are its setting and design."""
        prices = self.prices

        def over_layers(values: np.ndarray) -> np.ndarray:
            """Sums over each setting's layers of values a problem."""
            return np.add.reduceat(values[..., self.problem], self.starts, axis=-1)

        cycles, energy = over_layers(prices.cycles)[d, s], over_layers(prices.energy_uJ)[s]
        told: dict[str, Any] = {field.name: None for field in _KEYED}
        told |= {
            POINT: keys,
            "layers": self.lengths[s],
            "macs": np.array([sum(g.macs for g in each.gemms) for each in self.settings])[s],
            "weight_sparsity": np.array([each.weight_sparsity for each in self.settings])[s],
            "cycles_model": over_layers(prices.cycles_model)[d, s],
            "cycles": cycles,
            "energy_uJ": energy,
            "edp": energy * 1e-6 * cycles,
            "metadata_bits": over_layers(prices.metadata_bits)[s],
            "engine_version": [prices.engine_version] * len(keys),
            "version": [__version__] * len(keys),
        }
        for column, level in (("dram_words", OUTER), ("smem_words", SHARED)):
            if level in prices.words:
                told[column] = over_layers(prices.words[level])[s]
        pruned = [_of_pruning(each) for each in self.settings]
        for column in pruned[0]:
            told[column] = [pruned[at][column] for at in s.tolist()]
        return _table(told, len(keys), _KEYED)

    def layers(self, keys: list[str], s: IntArray, d: IntArray) -> pa.Table:
        """One row a layer of a point."""
        prices, lengths = self.prices, self.lengths[s]
        gemms = [gemm for setting in self.settings for gemm in setting.gemms]
        # Where each point's layers stand among those of all settings.
        first = np.repeat(self.starts[s] - (np.cumsum(lengths) - lengths), lengths)
        layer = first + np.arange(len(first))
        problem, design = self.problem[layer], np.repeat(d, lengths)

        def of_gemms(values: list[Any]) -> np.ndarray:
            return np.array(values)[layer]

        cycles, energy = prices.cycles[design, problem], prices.energy_uJ[problem]
        columns = of_gemms([gemm.N for gemm in gemms])
        told: dict[str, Any] = {field.name: None for field in LAYER_FIGURES}
        told |= {
            POINT: _texts(keys, np.repeat(np.arange(len(keys)), lengths)),
            "layer": _texts([gemm.layer for gemm in gemms], layer),
            "M": of_gemms([gemm.M for gemm in gemms]),
            "K": of_gemms([gemm.K for gemm in gemms]),
            "N": columns,
            "groups": of_gemms([gemm.groups for gemm in gemms]),
            "N_padding": prices.columns[problem] - columns,
            "form": _texts([gemm.weight.form for gemm in gemms], layer),
            "weight_density": of_gemms([gemm.weight.density for gemm in gemms]),
            "activation_density": of_gemms([gemm.activation_density for gemm in gemms]),
            "cycles_model": prices.cycles_model[design, problem],
            "cycles": cycles,
            "energy_uJ": energy,
            "edp": energy * 1e-6 * cycles,
            "utilization": prices.utilization[design, problem],
            "bottleneck": _texts(prices.parts, prices.bottleneck[design, problem]),
            "metadata_bits": prices.metadata_bits[problem],
            "mapping": _texts(prices.mappings, problem),
        }
        for column, level in (("dram_words", OUTER), ("smem_words", SHARED)):
            if level in prices.words:
                told[column] = prices.words[level][problem]
        return _table(told, len(layer), LAYER_FIGURES)


def _of_pruning(setting: Lowered) -> dict[str, Any]:
    """What is known of a pruned network alone."""
    summary = setting.summary
    names = ("accuracy", "accuracy_dense", "accuracy_finetuned", "accuracy_val")
    if summary is None:
        return {**dict.fromkeys((*names, "sparsity_prunable", "parameters_kept", "run"))}
    bound = summary.dense_finetuned
    return {
        "accuracy": summary.pruned.test.top1,
        "accuracy_dense": summary.dense.test.top1,
        "accuracy_finetuned": bound.test.top1 if bound else None,
        "accuracy_val": summary.pruned.val.top1,
        "sparsity_prunable": summary.sparsity,
        "parameters_kept": summary.parameters_kept,
        "run": setting.run,
    }


def _texts(words: Sequence[str], at: IntArray) -> pa.Array:
    """Text by number, without a copy a row."""
    numbers = pa.array(at.astype(np.int32))
    return pa.DictionaryArray.from_arrays(numbers, pa.array(list(words), pa.string())).cast(
        pa.string()
    )


def _table(told: Mapping[str, Any], rows: int, schema: pa.Schema) -> pa.Table:
    arrays = [
        pa.nulls(rows, field.type)
        if told[field.name] is None
        else pa.array(told[field.name], field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)
