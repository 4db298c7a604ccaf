"""The parameters and buffers of a module, to call it with others instead."""

from __future__ import annotations

from torch import Tensor, nn


def places_of_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Each place that holds a parameter or buffer, by one name, and what it holds.

    For ``functional_call(model, {name: other, ...}, inputs, tie_weights=False)``. A module that
    the model holds under two names has its places once: swapped twice, it would keep the
    stand-ins. A tensor that two modules share has two places.
    """
    found: dict[str, Tensor] = {}
    for prefix, part in model.named_modules():
        own = {**part._parameters, **part._buffers}
        name = f"{prefix}." if prefix else ""
        found |= {f"{name}{key}": value for key, value in own.items() if value is not None}
    return found
