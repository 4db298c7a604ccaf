"""The handwritten digits that ship with scikit-learn: 1797 grey images of 8 x 8."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from crisp_loop.datasets.split import Dataset, Split, stratified

SHARES = (0.6, 0.2, 0.2)
"""Training, validation and test."""


def digits(seed: int = 0) -> Dataset:
    """Digits 0 to 9, (1, 8, 8), grey levels 0 to 16 scaled to -1 to 1.

    Args:
        seed: Of the stratified split into 1078 training, 360 validation, 359 test samples.
    """
    pixels, targets = load_digits(return_X_y=True)
    grey = np.asarray(pixels, dtype=np.float32).reshape(-1, 1, 8, 8)
    images = torch.from_numpy(grey / 8 - 1)
    labels = torch.from_numpy(np.asarray(targets, dtype=np.int64))
    train, val, test = stratified(Split(images, labels), SHARES, seed)
    return Dataset("digits", tuple(str(digit) for digit in range(10)), train, val, test)
