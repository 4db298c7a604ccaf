"""Scores |g * w| that need not be multiplied out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Product:
    """T_w = |g * w| of one layer, as factors: masks are made of them without an array of T_w."""

    gradient: Tensor
    """g, float64, in the weight's layout; :func:`multiplied` overwrites it."""
    weight: Tensor
    """w, of the same shape."""


Saliency = Tensor | Product
"""The scores of one layer's weights: float64, in the weight's layout, or factors of them."""


def multiplied(saliency: Saliency) -> Tensor:
    """The scores as numbers; those of a :class:`Product` take the memory of its gradient."""
    if isinstance(saliency, Product):
        return mean_gradient_scores(saliency.gradient, saliency.weight)
    return saliency


def mean_gradient_scores(gradient: Tensor, weight: Tensor) -> Tensor:
    """|g * w| of one layer, computed in the memory of ``gradient``.

    Fresh memory for every score would cost several times the arithmetic.

    Args:
        gradient: g, float64, any shape; holds the scores afterwards.
        weight: w, of the same shape.
    """
    return gradient.mul_(weight.detach()).abs_()


def is_finite(saliency: Saliency) -> bool:
    """Whether no score is NaN or infinite."""
    if isinstance(saliency, Product):
        return is_finite(saliency.gradient) and is_finite(saliency.weight)
    return bool(saliency.isfinite().all())
