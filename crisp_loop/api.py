"""The package in a few lines of Python: what is here is meant to be used, and stays.

::

    import crisp_loop.api as crisp

    masks = crisp.prune(model, loader, crisp.CrispConfig(nm=crisp.NM(2, 4), sparsity=0.9))
    crisp.save_masks(path, masks)

:func:`prune` prunes and fine-tunes a model in place; :func:`save_masks` and :func:`load_masks`
keep its :class:`Masks`; :func:`apply_masks` zeroes the weights of another copy of the model,
:func:`freeze_masks` keeps them at zero while it is trained, and :func:`masks_of` reads masks off
a model that was pruned elsewhere. A user's mistakes are :class:`CrispLoopError`, told in one
sentence.
"""

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.masks import Masks, load_masks, save_masks
from crisp_loop.core.pattern import NM
from crisp_loop.prune.apply import apply_masks, freeze_masks, masks_of
from crisp_loop.prune.config import PruneConfig as CrispConfig
from crisp_loop.prune.module import prune_module as prune

__all__ = [
    "NM",
    "CrispConfig",
    "CrispLoopError",
    "Masks",
    "apply_masks",
    "freeze_masks",
    "load_masks",
    "masks_of",
    "prune",
    "save_masks",
]
