"""Lower a network to GEMMs whose density models come from its masks (design: im2col)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import read_json, write_json
from crisp_loop.core.gemm import Gemm, WeightSparsity, Workload, dense
from crisp_loop.core.layers import Layer, LayerTable
from crisp_loop.core.masks import load_masks, matrix_view
from crisp_loop.core.pattern import NM
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.lower.draw import Draw
from crisp_loop.lower.foreign import pattern_of

SparsityOf = Callable[[Layer], WeightSparsity]


def lower_network(
    layers: Path,
    masks: Path | Draw,
    out_dir: Path,
    activation_density: float = 0.6,
    input_density: float = 1.0,
    progress: Progress | None = None,
    columns: int = 1,
) -> Workload:
    """Turn each layer into one GEMM (grouped layers: one a group) with its density model.

    Products of two activations have both operands dense: what they multiply comes from linear
    layers and softmax, which leave no zeros.

    Args:
        layers: The layer table (``layers.json``).
        masks: The mask file, or how to draw masks where no weights are at hand.
        out_dir: Where ``workload.json`` goes.
        activation_density: Share of non-zero activations behind a non-linearity.
        input_density: The same for the input, which the first layer reads.
        progress: Who hears of it.
        columns: N of every GEMM grows to a multiple of this, for studies; mappers pad by
            themselves where that pays.

    Raises:
        CrispLoopError: unreadable files, or a mask of another shape than its layer.
    """
    table = read_json(layers, LayerTable, "layer table")
    if not table.layers:
        raise CrispLoopError(f"{layers} holds no layers; expected at least one conv or linear.")
    if isinstance(masks, Draw):
        drawn = masks.for_network(table)
        nm, block, source, sparsity = masks.nm, masks.block, f"drawn (seed {masks.seed})", drawn
    else:
        nm, block, source, sparsity = _from_file(masks, table)
    told = (progress or Quiet()).track(table.layers, "Lowering layers", len(table.layers))
    gemms = gemms_of(told, sparsity, activation_density, input_density, columns)
    workload = Workload(
        model=table.model,
        nm=nm,
        block=block,
        sparsity=sparsity_over(table.layers, gemms),
        masks=source,
        gemms=gemms,
    )
    write_json(out_dir / "workload.json", workload)
    if not isinstance(masks, Draw):
        _tell(workload, progress or Quiet())
    return workload


def _tell(workload: Workload, progress: Progress) -> None:
    """Say that masks were approximated, and how the first of them was."""
    noted = [gemm for gemm in workload.gemms if gemm.weight.note]
    if noted:
        more = f" ({len(noted) - 1} more layers are approximated)" if len(noted) > 1 else ""
        progress.note(f"{noted[0].layer}: {noted[0].weight.note}.{more}")


def gemms_of(
    layers: Iterable[Layer],
    sparsity: SparsityOf,
    activation_density: float,
    input_density: float = 1.0,
    columns: int = 1,
) -> tuple[Gemm, ...]:
    """The GEMMs of a network's layers, of which the first reads the input.

    Args:
        layers: In the order of the network.
        sparsity: The density model of a layer's weights.
        activation_density: Share of non-zero activations behind a non-linearity.
        input_density: The same for the input.
        columns: N grows to a multiple of this.
    """
    return tuple(
        padded(gemm_of(layer, sparsity(layer), activation_density if i else input_density), columns)
        for i, layer in enumerate(layers)
    )


def sparsity_over(layers: Sequence[Layer], gemms: Sequence[Gemm]) -> float:
    """Zeros among the weights of all layers; 0 where there are no weights."""
    weights = sum(layer.weights for layer in layers)
    pruned = sum(
        layer.weights - gemm.weight.nnz
        for layer, gemm in zip(layers, gemms, strict=True)
        if layer.weights
    )
    return pruned / weights if weights else 0.0


def gemm_of(layer: Layer, weight: WeightSparsity, activation_density: float) -> Gemm:
    """The GEMM of a layer (im2col); a product of activations reads both of them dense."""
    return Gemm(
        layer=layer.name,
        groups=layer.groups,
        M=layer.S // layer.groups,
        K=layer.K,
        N=layer.N,
        weight=weight,
        activation_density=activation_density if layer.weights else 1.0,
    )


def padded(gemm: Gemm, columns: int) -> Gemm:
    """The GEMM with N grown to a multiple of ``columns``."""
    return replace(gemm, N=-(-gemm.N // columns) * columns)


def _from_file(path: Path, table: LayerTable) -> tuple[NM, int, str, SparsityOf]:
    masks = load_masks(path)
    by_name = {layer.name: layer for layer in table.layers}
    for name, mask in masks.layers.items():
        if name not in by_name:
            raise InputError(path, name, name, f"expected a layer of {table.model}")
        layer = by_name[name]
        shape = (layer.S, layer.in_channels // layer.groups)
        expected = (*shape, *layer.kernel) if mask.ndim > 2 else shape
        if mask.shape != expected:
            raise InputError(path, name, mask.shape, f"expected {expected}, as {table.model} has")

    def sparsity(layer: Layer) -> WeightSparsity:
        if layer.name not in masks.layers:
            return dense(layer.S * layer.K)
        mask = matrix_view(masks.layers[layer.name]).astype(bool)
        if not layer.weights:
            raise InputError(
                path, layer.name, layer.kind, "a product of activations has no weights"
            )
        if layer.groups > 1 and not mask.all():
            raise InputError(
                path, layer.name, f"{layer.groups} groups", "expected no mask for a grouped layer"
            )
        return pattern_of(mask, masks.nm, masks.block)

    return masks.nm, masks.block, path.name, sparsity
