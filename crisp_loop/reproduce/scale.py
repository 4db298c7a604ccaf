"""At which scale the paper's figures are measured: small and at hand, or the paper's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from crisp_loop.core.errors import InputError
from crisp_loop.core.files import validated

ScaleName = Literal["ci", "mid", "full"]


class Scale(BaseModel):
    """What a user chooses. What follows from it for a figure, the figure's module says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ScaleName = "ci"
    """``ci``: scikit-learn's digits and small networks, minutes on one core. ``mid``: small
    networks on photographs (``data``). ``full``: the paper's networks, with ``data`` and
    ``weights``."""
    data: str = ""
    """As an experiment names it: ``cifar10:PATH``, ``folder:PATH``; empty is the scale's own."""
    networks: tuple[str, ...] = ()
    """Instead of the scale's own."""
    weights: str = ""
    """Trained weights: a file where there is one network, or a directory with a file NETWORK.pth
    or NETWORK.safetensors for each."""
    resize_head: bool = False
    """Whether ``weights`` with another number of classes than ``data`` get a new head."""
    seeds: Annotated[int, Field(ge=1)] | None = None
    """Runs to average over, instead of the scale's own number."""


def scale_of(given: dict[str, Any]) -> Scale:
    """A scale from options of the command line.

    Raises:
        CrispLoopError: a value that cannot be used.
    """
    if (name := given.get("name", "ci")) not in get_args(ScaleName):
        raise InputError("--scale", "", name, f"expected {', '.join(get_args(ScaleName))}")
    return validated(given, Scale, "command line")
