"""``crisp-loop formats``: its options, and its table for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from crisp_loop.core.errors import InputError
from crisp_loop.core.pattern import NM
from crisp_loop.core.progress import Progress
from crisp_loop.formats.registry import FORMATS
from crisp_loop.pack.compare import (
    OTHERS,
    PAPER,
    Comparison,
    Masks,
    compare_formats,
    compare_masks,
)


def comparison_of(
    options: dict[str, Any], indivisible: str, masks: Path | None, seed: int, progress: Progress
) -> Comparison:
    """The comparison that a command's options ask for.

    Args:
        options: Of ``model`` (names), ``nm``, ``block`` and ``sparsity`` (texts), those given.
        indivisible: ``pad`` or ``nm``.
        masks: A mask file, which excludes all of ``options``.
        seed: Of what is drawn.
        progress: Who hears how far it is.

    Raises:
        CrispLoopError: an option that cannot be used, or an unreadable file.
    """
    if masks is not None:
        if options:
            raise InputError("--masks", "", str(masks), f"it excludes --{next(iter(options))}")
        return compare_masks(masks, seed=seed, progress=progress)
    if indivisible not in ("pad", "nm"):
        raise InputError("--indivisible", "", indivisible, "expected pad or nm")
    given: dict[str, Any] = {}
    if "model" in options:
        given["models"] = options["model"]
    if "block" in options:
        given["block"] = options["block"]
    if "nm" in options:
        try:
            given["nm"] = NM.parse(options["nm"])
        except ValueError as error:
            raise InputError("--nm", "", options["nm"], str(error)) from None
    if "sparsity" in options:
        given["sparsities"] = [_number(text) for text in options["sparsity"]]
    return compare_formats(**given, pad=indivisible == "pad", seed=seed, progress=progress)


def comparison_table(comparison: Comparison) -> Table:
    """Metadata of each network and sparsity, as multiples of the hybrid format's."""
    shown: list[tuple[str, Masks]] = [("csr", "same"), ("ellpack", "unstructured")]
    for name in OTHERS:
        if name != "csr":
            shown.append((name, "same"))
    table = Table(box=SIMPLE_HEAD, title="Metadata over the hybrid format's")
    for column in ("network", "sparsity", "hybrid, bits"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name, masks in shown:
        title = FORMATS[name].title
        table.add_column(f"{title}*" if masks == "unstructured" else title, justify="right")
    table.add_column("paper's", justify="right")
    for ours in (total for total in comparison.totals if total.format == "hybrid"):
        ratios = [comparison.ratio(ours.model, ours.sparsity, *each) for each in shown]
        ratios.append(comparison.ratio(ours.model, ours.sparsity, PAPER))
        cells = ["" if ratio != ratio else f"{ratio:.2f}x" for ratio in ratios]
        table.add_row(ours.model, f"{ours.sparsity:.1%}", f"{ours.overhead_bits:,}", *cells)
    first = comparison.rows[0]
    table.caption = (
        f"{first.nm} in blocks of {first.block}; pointers count as metadata, values do not (BSR"
        " keeps whole blocks). * unstructured masks of as many weights (the paper's comparison; CSR"
        " takes the same for both); all others hold the hybrid format's masks. paper's: the hybrid"
        " by the formula that the paper prints."
    )
    return table


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError("--sparsity", "", text, "expected numbers such as 0.5,0.9") from None
