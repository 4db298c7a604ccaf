"""The options of the pruning stage. Imports no torch, so that reading an experiment is quick."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from crisp_loop.core.pattern import NM, SUPPORTED_BLOCKS, SUPPORTED_NM, NMField, as_fraction

NOTHING = NM(4, 4)
"""The N:M pattern that prunes nothing: that of every method without one."""

MethodName = Literal["crisp", "blocks", "nm", "unstructured", "channel", "ocap", "capnn", "dense"]
"""What is pruned; they are in :mod:`crisp_loop.prune.methods`."""

CriterionName = Literal[
    "paper", "mean_abs", "magnitude", "snip", "fisher", "grasp", "synflow", "random"
]
"""The saliency criteria; their formulas are in :mod:`crisp_loop.prune.scores.criteria`."""

AugmentName = Literal["none", "flip_shift"]
"""Random changes of training images; they are in :mod:`crisp_loop.prune.training.augment`."""


def decided_by(method: object) -> tuple[str, ...]:
    """The options that a method leaves no choice about; ``method`` may be no method at all."""
    decided = {"crisp": (), "nm": ("sparsity",), "dense": ("nm", "sparsity")}
    return decided.get(method, ("nm",)) if isinstance(method, str) else ()


TRAINING = (
    "train_epochs", "train_lr", "batch_size", "momentum", "weight_decay", "augment", "device",
    "precision", "threads", "seed",
)  # fmt: skip
"""The options that the dense network depends on, by name."""


class PruneConfig(BaseModel):
    """How a network is trained, pruned and fine-tuned. The defaults suit the digits."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    method: MethodName = "crisp"
    """What is pruned. ``crisp``: N:M inside uniformly pruned blocks. The baselines: ``blocks``
    alone, ``nm`` alone, ``unstructured`` single weights, whole output channels by saliency
    (``channel``), by feature maps (``ocap``) or by firing rates (``capnn``), and ``dense``: no
    pruning, fine-tuning alone."""

    mode: Literal["iterative", "lottery", "rigl"] = "iterative"
    """How weights and masks come together. ``iterative``: Algorithm 1. ``lottery``: after each
    pruning the weights that are left go back to where they started. ``rigl``: single weights at
    the target sparsity from the start, dropped and grown while training."""

    nm: NMField = NM(2, 4)
    """Keep N of every M consecutive input channels: 1:4, 2:4 or 3:4; with the method ``nm`` any
    M to 32. Methods without a pattern have none (4:4)."""

    block: int = 16
    """Side B of the square blocks of the S x K weight matrix: 16, 32 or 64."""

    target: Literal["prunable", "all"] = "prunable"
    """Which weights ``sparsity`` is a share of: those of the prunable layers, or those of all conv
    and linear layers, the ones that stay dense included."""

    sparsity: float = Field(default=0.9, ge=0, lt=1)
    """Target kappa: share of zeros among the weights of all prunable layers, at least 1 - N/M.
    Prunable are the conv and linear layers without groups whose input channels M divides, less
    the stem, the head and what ``exclude`` names. The method ``nm`` has 1 - N/M."""

    iterations: int = Field(default=3, ge=1)
    """Iterations n of Algorithm 1, over which the sparsity rises to the target."""

    schedule: Literal["linear", "cubic"] = "linear"
    """How it rises from the pattern's own 1 - N/M. ``linear``: by equal steps (Algorithm 1).
    ``cubic``: much at first, little at last (Zhu and Gupta 2017)."""

    order: Literal["nm_first", "blocks_first"] = "nm_first"
    """What a block's score adds up: ``nm_first`` the weights that N:M pruning leaves (Algorithm
    1), ``blocks_first`` all of them."""

    min_blocks: int = Field(default=1, ge=1)
    """Collapse guard: blocks that every block-row keeps at least."""

    indivisible: Literal["nm", "dense", "pad"] = "nm"
    """What becomes of layers with a side that B does not divide: ``nm``, N:M alone; ``dense``,
    nothing; ``pad``, blocks as in all others, the matrix seen as filled up with zeros to multiples
    of B. Only real weights count in the sparsity."""

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

    usage: dict[int, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """For ``capnn``: how often the user meets each class, by class id; equally often without."""

    rigl_every: int = Field(default=20, ge=1)
    """Steps between two changes of RigL's masks."""

    rigl_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of a layer's weights that RigL exchanges at first; it falls to 0 along a cosine."""

    upper_bound: bool = True
    """Whether the dense network is fine-tuned too, for comparison."""

    exclude: tuple[str, ...] = ()
    """Layers to leave dense, by qualified module name; ``*`` and ``?`` are wildcards."""

    prune_stem: bool = False
    """Whether the first convolution may be pruned (if M divides its input channels)."""

    prune_head: bool = False
    """Whether the last layer may be pruned if it is linear: the classifier."""

    augment: AugmentName = "none"
    """Random changes of images in training, not in scoring. ``flip_shift`` mirrors and shifts by
    up to an eighth of the side, as is usual for photographs; not for digits or letters."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where training and scoring run; ``auto`` is CUDA where torch finds it."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the layers in training; smaller ones are mixed precision (torch's autocast), which
    scoring never uses. ``auto`` is bfloat16 on CUDA devices that have it, else float32."""

    threads: int = Field(default=1, ge=1)
    """CPU threads of torch. Small networks train fastest on one, and on a busy machine by far;
    another number also changes results through rounding."""

    seed: int = Field(default=0, ge=0)
    """Of initial weights, shuffling, dropout, and the draw of samples."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_depend(cls, data: Any) -> Any:
        """Fill in what the method leaves no choice about."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        method = data.get("method", "crisp")
        if "nm" in decided_by(method):
            data.setdefault("nm", str(NOTHING))
        if method == "dense":
            data.setdefault("sparsity", 0.0)
        if method == "nm" and "sparsity" not in data:
            with suppress(ValueError):  # which the field nm says below
                data["sparsity"] = float(1 - NM.parse(data.get("nm", "2:4")).density)
        return data

    @field_validator("mode")
    @classmethod
    def _mode_fits(cls, mode: str, info: ValidationInfo) -> str:
        method = info.data.get("method")
        if mode == "rigl" and method not in (None, "unstructured"):
            raise ValueError("rigl moves single weights, so expected method: unstructured")
        return mode

    @field_validator("nm")
    @classmethod
    def _known_pattern(cls, nm: NM, info: ValidationInfo) -> NM:
        method = info.data.get("method", "crisp")
        if method == "crisp" and str(nm) not in SUPPORTED_NM:
            blocks = "; method: blocks prunes blocks alone" if nm == NOTHING else ""
            raise ValueError(f"expected {', '.join(SUPPORTED_NM)}{blocks}")
        if method == "nm" and not nm.n < nm.m <= 32:
            raise ValueError("expected N below M, and M at most 32")
        if method not in ("crisp", "nm") and nm != NOTHING:
            raise ValueError(f"the method {method} has no N:M pattern; leave nm out")
        return nm

    @field_validator("block")
    @classmethod
    def _known_block(cls, block: int) -> int:
        if block not in SUPPORTED_BLOCKS:
            raise ValueError(f"expected {', '.join(str(known) for known in SUPPORTED_BLOCKS)}")
        return block

    @field_validator("sparsity")
    @classmethod
    def _within_method(cls, sparsity: float, info: ValidationInfo) -> float:
        nm, method = info.data.get("nm"), info.data.get("method")
        if nm is None or method is None:
            return sparsity
        floor = 1 - nm.density
        if method == "nm":
            if sparsity != float(floor) or info.data.get("target") == "all":
                what = f"{nm} prunes {float(floor):g} of the prunable weights exactly"
                raise ValueError(f"{what}; leave sparsity and target out")
            return sparsity
        if method == "dense" and sparsity != 0:
            raise ValueError("the method dense prunes nothing; leave sparsity out")
        if info.data.get("target") == "prunable" and as_fraction(sparsity) < floor:
            raise ValueError(
                f"{nm} alone prunes {float(floor):g}, so expected at least {float(floor):g}"
            )
        return sparsity
