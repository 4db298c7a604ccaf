"""A classifier for some of its classes only."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils import parametrize

from crisp_loop.core.errors import CrispLoopError


def slice_head(model: nn.Module, head: str, classes: Sequence[int]) -> nn.Module:
    """A copy of ``model`` whose linear layer ``head`` has only the outputs ``classes``.

    The sliced model's logit i is the whole model's logit ``classes[i]``, so **labels must be
    remapped**: a sample of class ``classes[i]`` now has the label i. Class-aware channel pruning
    such as OCAP (Ma et al., 2023) cuts the classifier to the user's classes in this way.

    Args:
        model: Stays as it is; the copy shares no memory with it.
        head: Qualified name of an nn.Linear whose outputs are the logits; empty if the model
            itself is one.
        classes: Outputs to keep, in the order in which they shall come.

    Raises:
        CrispLoopError: no such linear layer, a masked one, or classes that are none of its
            outputs, twice there, or none at all.
    """
    sliced = copy.deepcopy(model)
    try:
        layer = sliced.get_submodule(head)
    except AttributeError:
        raise CrispLoopError(f"The model has no layer {head}.") from None
    if not isinstance(layer, nn.Linear):
        raise CrispLoopError(f"The head {head} is a {type(layer).__name__}, not a Linear layer.")
    if parametrize.is_parametrized(layer):
        raise CrispLoopError(f"The head {head} is masked; freeze its weights before slicing it.")
    outputs = layer.out_features
    rows = list(classes)
    if not rows or len(set(rows)) < len(rows) or min(rows) < 0 or max(rows) >= outputs:
        raise CrispLoopError(
            f"Classes {rows} cannot be kept of the {outputs} outputs of {head}; expected some of"
            f" 0 to {outputs - 1}, each once."
        )
    layer.weight = _rows(layer.weight, rows)
    if layer.bias is not None:
        layer.bias = _rows(layer.bias, rows)
    layer.out_features = len(rows)
    return sliced


def _rows(parameter: Tensor, rows: list[int]) -> nn.Parameter:
    return nn.Parameter(parameter.detach()[rows], requires_grad=parameter.requires_grad)
