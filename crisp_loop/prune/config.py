"""The options of the pruning stage. Imports no torch, so that reading an experiment is quick."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from crisp_loop.core.pattern import NM, SUPPORTED_BLOCKS, SUPPORTED_NM, NMField, as_fraction

BLOCKS_ONLY = "4:4"
"""The N:M pattern that prunes nothing: what is left is block pruning alone, as a baseline."""

CriterionName = Literal[
    "paper", "mean_abs", "magnitude", "snip", "fisher", "grasp", "synflow", "random"
]
"""The saliency criteria; their formulas are in :mod:`crisp_loop.prune.criteria`."""


class PruneConfig(BaseModel):
    """How a network is trained, pruned and fine-tuned. The defaults suit the digits."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    nm: NMField = NM(2, 4)
    """Keep N of every M consecutive input channels: 1:4, 2:4 or 3:4; 4:4 prunes blocks only."""

    block: int = 16
    """Side B of the square blocks of the S x K weight matrix: 16, 32 or 64."""

    sparsity: float = Field(default=0.9, ge=0, lt=1)
    """Target kappa: share of zeros among the weights of all prunable layers, at least 1 - N/M.
    Prunable are the conv and linear layers without groups whose input channels M divides, less
    the stem, the head and what ``exclude`` names."""

    iterations: int = Field(default=3, ge=1)
    """Iterations n of Algorithm 1, over which the sparsity rises linearly to the target."""

    train_epochs: int = Field(default=15, ge=0)
    """Epochs of the dense training on all classes; unused when weights are given."""

    ste_epochs: int = Field(default=4, ge=0)
    """Epochs of each iteration before its scoring, N:M masks on, gradients straight through."""

    iteration_epochs: int = Field(default=4, ge=0)
    """Epochs of each iteration after its block pruning (delta of Algorithm 1, line 11)."""

    final_epochs: int = Field(default=16, ge=0)
    """Epochs after the last iteration, with all masks frozen."""

    train_lr: float = Field(default=0.1, gt=0)
    """First learning rate of the dense training; it falls to 0 along a cosine."""

    lr: float = Field(default=0.05, gt=0)
    """First learning rate of each fine-tuning; it falls to 0 along a cosine."""

    batch_size: int = Field(default=32, ge=1)
    """Samples a step (the paper's 32)."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD (the paper's 0.9)."""

    weight_decay: float = Field(default=4e-5, ge=0)
    """L2 penalty on all parameters (the paper's 4e-5)."""

    criterion: CriterionName = "paper"
    """Saliency of a weight w with gradients g over the samples: ``paper`` is |mean(g) * w|
    (CASS, Eq. 1); ``mean_abs`` is mean(|g|) * |w| and ``fisher`` is mean(g^2) * w^2 / 2, one
    backward pass a sample each; ``magnitude`` is |w|; ``snip`` is ``paper`` at the dense weights;
    ``grasp`` is w * Hg; ``synflow`` needs no data; ``random`` is a baseline."""

    score_norm: Literal["none", "mean", "per_param"] = "none"
    """How the rank columns of different layers compare. ``none`` (Algorithm 1): by the sum of
    their saliency, which favours large layers. ``mean``: divided by the layer's mean over all its
    columns. ``per_param``: divided by the weights that the column holds after N:M pruning."""

    sr_ste_decay: float = Field(default=0.0, ge=0)
    """Pulls N:M-masked weights towards 0 while gradients go straight through (SR-STE's lambda);
    0 is the plain straight-through estimator."""

    samples_per_class: int = Field(default=256, ge=1)
    """Training samples of each user class for scoring and fine-tuning (the paper's 256); all of
    them where the data holds fewer."""

    exclude: tuple[str, ...] = ()
    """Layers to leave dense, by qualified module name; ``*`` and ``?`` are wildcards."""

    prune_stem: bool = False
    """Whether the first convolution may be pruned (if M divides its input channels)."""

    prune_head: bool = False
    """Whether the last layer may be pruned if it is linear: the classifier."""

    threads: int = Field(default=1, ge=1)
    """CPU threads of torch. Small networks train fastest on one, and on a busy machine by far;
    another number also changes results through rounding."""

    seed: int = Field(default=0, ge=0)
    """Of initial weights, shuffling, dropout, and the draw of samples."""

    @field_validator("nm")
    @classmethod
    def _known_pattern(cls, nm: NM) -> NM:
        if str(nm) not in (*SUPPORTED_NM, BLOCKS_ONLY):
            raise ValueError(
                f"expected {', '.join(SUPPORTED_NM)}, or {BLOCKS_ONLY} for blocks only"
            )
        return nm

    @field_validator("block")
    @classmethod
    def _known_block(cls, block: int) -> int:
        if block not in SUPPORTED_BLOCKS:
            raise ValueError(f"expected {', '.join(str(known) for known in SUPPORTED_BLOCKS)}")
        return block

    @field_validator("sparsity")
    @classmethod
    def _not_below_pattern(cls, sparsity: float, info: ValidationInfo) -> float:
        nm = info.data.get("nm")
        if nm is not None and as_fraction(sparsity) < 1 - nm.density:
            floor = float(1 - nm.density)
            raise ValueError(f"{nm} alone prunes {floor:g}, so expected at least {floor:g}")
        return sparsity
