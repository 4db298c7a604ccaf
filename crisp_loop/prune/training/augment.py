"""Random changes of training images that keep their class."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.prune.config import AugmentName


def flip_shift(images: Tensor) -> Tensor:
    """Mirror every other image on average, and shift each by up to an eighth of its side.

    The usual training for CIFAR (He et al. 2015, section 4.2: four pixels of zeros around 32, a
    random crop, a horizontal flip). Draws from torch's global generator.

    Args:
        images: (samples, C, H, W).

    Raises:
        CrispLoopError: inputs of another shape.
    """
    if images.ndim != 4:
        shape = "x".join(map(str, images.shape[1:]))
        raise CrispLoopError(f"Inputs of {shape} cannot be mirrored; expected augment: none.")
    samples, _, height, width = images.shape
    margin = (height // 8, width // 8)
    padded = nn.functional.pad(images, (margin[1], margin[1], margin[0], margin[0]))
    rows = torch.randint(0, 2 * margin[0] + 1, (samples, 1)) + torch.arange(height)
    columns = torch.randint(0, 2 * margin[1] + 1, (samples, 1)) + torch.arange(width)
    mirrored = torch.rand(samples, 1) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    every = torch.arange(samples, device=images.device)[:, None, None]
    rows, columns = rows.to(images.device), columns.to(images.device)
    # Indexing with the channels last gives (samples, H, W, C).
    cropped = padded.permute(0, 2, 3, 1)[every, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


AUGMENTATIONS: dict[AugmentName, Callable[[Tensor], Tensor]] = {
    "none": lambda images: images,
    "flip_shift": flip_shift,
}
"""``PruneConfig.augment`` to what is done with each training batch."""
