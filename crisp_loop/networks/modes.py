"""Training or evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """All of ``model`` in training or evaluation mode inside the block.

    In evaluation mode batch-norm statistics stay and dropout is off. Every part's own mode comes
    back afterwards, also where parts of a model were set apart.
    """
    modes = [(part, part.training) for part in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for part, before in modes:
            part.training = before
