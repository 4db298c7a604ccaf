"""The comparison of formats over whole networks (the CRISP paper's Fig. 4, right).

Bits come from closed forms, which the tests hold against the encoders, so no weights are needed: a
mask matters by a few counts alone. Masks at a pattern are drawn block by block (which blocks a
block-row keeps), with full groups of N; unstructured masks of as many weights are drawn by the
number of weights in each row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import write_text
from crisp_loop.core.layers import Layer, roles, unfit
from crisp_loop.core.masks import load_masks, matrix_view, sparsity_of
from crisp_loop.core.pattern import NM, as_fraction, blocks_over, blocks_to_keep
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.formats import accounting
from crisp_loop.formats.base import Bits, Facts
from crisp_loop.formats.registry import FORMATS
from crisp_loop.networks.trace import layer_table

NETWORKS = ("resnet50", "vgg16", "mobilenetv2")
"""The paper's."""
NM24 = NM(2, 4)
SPARSITIES = tuple(percent / 100 for percent in range(50, 100, 5))
CRISP = "hybrid"
PAPER = "hybrid-paper"
"""The hybrid format's metadata by the paper's formula."""
OTHERS = tuple(name for name in FORMATS if name not in (CRISP, "nm"))
Masks = Literal["same", "unstructured"]
LAYERS_FILE, TOTALS_FILE = "formats.csv", "format_totals.csv"
FIGURE_FILES = ("formats.png", "formats.svg")


@dataclass(frozen=True)
class FormatRow:
    """One row of ``formats.csv``: a layer in one format."""

    model: str
    sparsity: float
    """kappa that was asked for; of a mask file, the share that its layers lack."""
    layer: str
    S: int
    K: int
    nm: str
    block: int
    kept_blocks: int | None
    """K'/B; None where all blocks are kept and the layer is stored as N:M."""
    nnz: int
    format: str
    """A name of the registry; ``hybrid`` is what crisp_loop stores: N:M offsets, and block
    indices unless all blocks are kept. ``hybrid-paper``: metadata as the paper counts it."""
    masks: Masks
    """``same``: the mask that the hybrid format stores; ``unstructured``: as many weights
    anywhere."""
    value_bits: int
    metadata_bits: int
    pointer_bits: int

    @property
    def overhead(self) -> int:
        """Metadata and pointers."""
        return self.metadata_bits + self.pointer_bits


@dataclass(frozen=True)
class FormatTotal:
    """One row of ``format_totals.csv``: a network in one format, beside the hybrid."""

    model: str
    sparsity: float
    layers: int
    format: str
    masks: Masks
    value_bits: int
    overhead_bits: int
    """Metadata and pointers."""
    overhead_ratio: float
    """Of the hybrid format's overhead: what the paper's Fig. 4 shows."""
    total_ratio: float
    """Values and overhead, of the hybrid format's."""


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare_formats` counted."""

    rows: tuple[FormatRow, ...]
    totals: tuple[FormatTotal, ...]

    def ratio(self, model: str, sparsity: float, name: str, masks: Masks = "same") -> float:
        """Overhead of one format over the hybrid's, in a network; NaN where it cannot hold it."""
        for total in self.totals:
            key = (total.model, total.sparsity, total.format, total.masks)
            if key == (model, sparsity, name, masks):
                return total.overhead_ratio
        return float("nan")


def compare_formats(
    models: Sequence[str] = NETWORKS,
    nm: NM = NM24,
    block: int = 64,
    sparsities: Sequence[float] | None = None,
    pad: bool = True,
    word: int = 32,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Count the bits of all formats over networks whose masks are drawn at a pattern.

    Layers that can be pruned (all but stem, head, depthwise and those whose channels M does not
    divide) are pruned alike, each to the nearest number of whole blocks and at least one.

    Args:
        models: Networks of the registry.
        nm: The pattern.
        block: B.
        sparsities: kappa's; by default 0.5 to 0.95 in steps of 0.05, from 1 - N/M on.
        pad: Whether layers that B does not divide get the blocks of the padded matrix; else N:M
            alone.
        word: Bits of a value.
        seed: Of what is drawn.
        progress: Who hears how far it is.

    Raises:
        InputError: an unknown network, none with layers to prune, or a kappa below 1 - N/M or not
            below 1.
    """
    floor = 1 - nm.density
    if sparsities is None:
        sparsities = [each for each in SPARSITIES if as_fraction(each) >= floor]
    for each in sparsities:
        if not floor <= as_fraction(each) < 1:
            expected = f"expected {float(floor):g} (what {nm} alone removes) or more, and below 1"
            raise InputError("formats", "sparsity", each, expected)
    if block < 1 or block % nm.m:
        raise InputError("formats", "block", block, f"expected a multiple of {nm.m}")
    rng = np.random.default_rng(seed)
    tables = [layer_table(model) for model in models]
    rows: list[FormatRow] = []
    tasks = [(table, sparsity) for table in tables for sparsity in sparsities]
    for table, sparsity in (progress or Quiet()).track(tasks, "Counting bits"):
        ends = roles(table)
        for layer in table.layers:
            if layer.name not in ends and not unfit(layer, nm.m):
                facts, kept = _drawn(layer, nm, block, sparsity, pad, word, rng)
                rows += _rows(table.model, sparsity, layer.name, facts, kept, rng)
    if not rows:
        raise InputError("formats", "model", list(models), f"no layer of them can be {nm}")
    return _compared(rows)


def compare_masks(
    path: Path, word: int = 32, seed: int = 0, progress: Progress | None = None
) -> Comparison:
    """Count the bits of all formats for the masks of a file; its dense layers are left out.

    Raises:
        CrispLoopError: an unreadable file, or a mask that is neither hybrid nor N:M.
    """
    masks = load_masks(path)
    rng = np.random.default_rng(seed)
    found: list[tuple[str, Facts, int | None]] = []
    for name in (progress or Quiet()).track(list(masks.layers), "Counting bits"):
        mask = matrix_view(masks.layers[name]).astype(np.bool_, copy=False)
        try:
            sparsity = sparsity_of(mask, masks.nm, masks.block)
        except ValueError as error:
            raise CrispLoopError(f"{path}: layer {name} cannot be packed: {error}.") from None
        if sparsity.form != "dense":
            facts = Facts.of(mask, masks.nm, masks.block, word)
            found.append((name, facts, sparsity.kept_blocks))
    if not found:
        raise CrispLoopError(f"{path} prunes no layer; expected a mask with zeros.")
    weights = sum(facts.rows * facts.columns for _, facts, _ in found)
    total = round(1 - sum(facts.nnz for _, facts, _ in found) / weights, 6)
    rows: list[FormatRow] = []
    for name, facts, kept in found:
        rows += _rows(masks.model, total, name, facts, kept, rng)
    return _compared(rows)


def write_comparison(comparison: Comparison, out_dir: Path) -> tuple[Path, ...]:
    """Write ``formats.csv`` and ``format_totals.csv``, each atomically."""
    files = (out_dir / LAYERS_FILE, out_dir / TOTALS_FILE)
    _write(files[0], FormatRow, comparison.rows)
    _write(files[1], FormatTotal, comparison.totals)
    return files


def _drawn(
    layer: Layer,
    nm: NM,
    block: int,
    sparsity: float,
    pad: bool,
    word: int,
    rng: np.random.Generator,
) -> tuple[Facts, int | None]:
    """The counts of a layer's drawn mask, and K'/B; None if all blocks are kept."""
    rows, columns = layer.S, layer.K
    grid = blocks_over(rows, block), blocks_over(columns, block)
    keep = blocks_to_keep(grid[1], nm, sparsity)
    whole = rows % block == 0 and columns % block == 0
    if not (whole or pad):
        keep = grid[1]
    kept = rng.random(grid).argsort(axis=1).argsort(axis=1) < keep
    heights = np.full(grid[0], block)
    heights[-1] = rows - (grid[0] - 1) * block
    widths = np.full(grid[1], block)
    widths[-1] = columns - (grid[1] - 1) * block
    in_row = kept @ widths * nm.n // nm.m
    facts = Facts(
        rows=rows,
        columns=columns,
        nnz=int(heights @ in_row),
        longest_row=int(in_row.max()),
        blocks=int(kept.sum()),
        nm=nm,
        block=block,
        word=word,
    )
    return facts, keep if keep < grid[1] else None


def _rows(
    model: str,
    sparsity: float,
    layer: str,
    facts: Facts,
    kept: int | None,
    rng: np.random.Generator,
) -> Iterable[FormatRow]:
    """One layer in all formats that can hold it."""

    def row(name: str, masks: Masks, bits: Bits) -> FormatRow:
        return FormatRow(
            model,
            sparsity,
            layer,
            facts.rows,
            facts.columns,
            str(facts.nm),
            facts.block,
            kept,
            facts.nnz,
            name,
            masks,
            bits.values,
            bits.metadata,
            bits.pointers,
        )

    ours = FORMATS["nm" if kept is None else "hybrid"].bits(facts)
    yield row(CRISP, "same", ours)
    columns, block = (facts.columns, None) if kept is None else (kept * facts.block, facts.block)
    paper = accounting.paper_bits(facts.rows, columns, facts.nm, block)
    yield row(PAPER, "same", Bits(ours.values, paper))
    for name in OTHERS:
        if FORMATS[name].fits(facts.nm):
            yield row(name, "same", FORMATS[name].bits(facts))
    yield row("csr", "unstructured", FORMATS["csr"].bits(facts))
    in_rows = rng.multivariate_hypergeometric(
        [facts.columns] * facts.rows, facts.nnz, method="marginals"
    )
    scattered = replace(facts, longest_row=int(in_rows.max()))
    yield row("ellpack", "unstructured", FORMATS["ellpack"].bits(scattered))


def _compared(rows: Sequence[FormatRow]) -> Comparison:
    """Sums over layers, beside the hybrid's."""
    sums: dict[tuple[str, float], dict[tuple[str, Masks], list[FormatRow]]] = {}
    for row in rows:
        network = sums.setdefault((row.model, row.sparsity), {})
        network.setdefault((row.format, row.masks), []).append(row)
    totals = []
    for (model, sparsity), formats in sums.items():
        ours = formats[CRISP, "same"]
        overhead, values = sum(r.overhead for r in ours), sum(r.value_bits for r in ours)
        for (name, masks), each in formats.items():
            own, own_values = sum(r.overhead for r in each), sum(r.value_bits for r in each)
            totals.append(
                FormatTotal(
                    model,
                    sparsity,
                    len(each),
                    name,
                    masks,
                    own_values,
                    own,
                    round(own / overhead, 4) if overhead else float("nan"),
                    round((own + own_values) / (overhead + values), 4),
                )
            )
    return Comparison(tuple(rows), tuple(totals))


def _write(path: Path, kind: type, rows: Sequence[FormatRow] | Sequence[FormatTotal]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(kind))
    writer.writerows(astuple(row) for row in rows)
    write_text(path, text.getvalue())
