"""Random generators put back to where they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from crisp_loop.prune.batches import Batches


@contextmanager
def generators_kept(batches: Batches) -> Iterator[None]:
    """Put torch's global generator and the batches' own one back after the block.

    A DataLoader draws from the global generator at each epoch, even without a shuffle.
    """
    own = getattr(batches, "generator", None)
    state = own.get_state() if isinstance(own, torch.Generator) else None
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            if isinstance(own, torch.Generator) and state is not None:
                own.set_state(state)
