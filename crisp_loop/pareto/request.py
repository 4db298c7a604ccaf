"""What a trade-off study spans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from crisp_loop.core.files import validated
from crisp_loop.core.pattern import NM, SUPPORTED_BLOCKS, NMField, as_fraction

Cost = Literal["edp", "cycles", "energy"]


class ParetoRequest(BaseModel):
    """The choices whose trade-off is asked for, and what they cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nm: Annotated[tuple[NMField, ...], Field(min_length=1)] = (NM(1, 4), NM(2, 4), NM(3, 4))
    block: Annotated[tuple[int, ...], Field(min_length=1)] = (16, 32)
    sparsity: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(min_length=1)] = (
        0.8,
        0.9,
        0.95,
    )
    """kappa; combined with those patterns that remove no more by themselves."""
    accelerators: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "nvidia-stc", "dstc", "crisp-stc",
    )  # fmt: skip
    """Each has a front of its own; dense is added for the ratios."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    """Prunings a choice, of which the mean counts; the first seed is the experiment's."""
    cost: Cost = "edp"
    """What stands against accuracy."""
    experiment: dict[Any, Any] = {}
    """Everything else, as an experiment file says it; its name and designs are left out."""

    @field_validator("block")
    @classmethod
    def _blocks_are_known(cls, block: tuple[int, ...]) -> tuple[int, ...]:
        for side in block:
            if side not in SUPPORTED_BLOCKS:
                raise ValueError(f"expected sides of {', '.join(map(str, SUPPORTED_BLOCKS))}")
        return block

    def patterns(self) -> Iterator[tuple[NM, tuple[float, ...]]]:
        """Each N:M with the sparsities that it can have."""
        for nm in self.nm:
            floor = 1 - nm.density
            if fitting := tuple(k for k in self.sparsity if as_fraction(k) >= floor):
                yield nm, fitting

    @property
    def left_out(self) -> tuple[str, ...]:
        """Combinations that cannot be: the pattern alone removes more."""
        kept = dict(self.patterns())
        return tuple(
            f"{nm} at {kappa:g}"
            for nm in self.nm
            for kappa in self.sparsity
            if kappa not in kept.get(nm, ())
        )


def pareto_request(given: Mapping[str, Any]) -> ParetoRequest:
    """A request from options of the command line.

    Raises:
        CrispLoopError: a value that cannot be used.
    """
    return validated(dict(given), ParetoRequest, "command line")
