"""What a request for the specs of some layers says, apart from the layers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from crisp_loop.accelerators import load_accelerator
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import validated
from crisp_loop.core.pattern import NM, NMField, as_fraction
from crisp_loop.lower.draw import Draw
from crisp_loop.mapping.mappers import DEFAULT_MAPPER, DEFAULT_SECONDS
from crisp_loop.mapping.objective import DEFAULT_OBJECTIVE
from crisp_loop.mapping.run import MapRequest
from crisp_loop.pipeline.designs import fitting_changes

LARGEST_M = 32


class SpecRequest(BaseModel):
    """Pattern and designs of a request; the defaults are those of an experiment.

    Unlike pruning, specs take any N:M to M = 32 and any block that holds whole groups: whether a
    design can use it is for the design to say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    accelerators: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "dense", "nvidia-stc", "dstc", "crisp-stc",
    )  # fmt: skip
    nm: NMField = NM(2, 4)
    block: Annotated[int, Field(ge=1, le=4096)] = 16
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """kappa of every layer that can hold the pattern."""
    seed: Annotated[int, Field(ge=0)] = 0
    arch: dict[str, Any] = {}
    """Fields of the designs to change, as in an experiment."""
    objective: str = DEFAULT_OBJECTIVE
    mapper: str = DEFAULT_MAPPER
    mapper_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = DEFAULT_SECONDS

    @field_validator("nm")
    @classmethod
    def _small_groups(cls, nm: NM) -> NM:
        if nm.m > LARGEST_M:
            raise ValueError(f"expected groups of at most {LARGEST_M}")
        return nm

    @field_validator("accelerators")
    @classmethod
    def _known(cls, accelerators: tuple[str, ...]) -> tuple[str, ...]:
        for name in accelerators:
            try:
                load_accelerator(name)
            except CrispLoopError as error:
                raise ValueError(str(error)) from None
        return tuple(dict.fromkeys(accelerators))

    @field_validator("arch")
    @classmethod
    def _changes_fit(cls, arch: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return fitting_changes(arch, info.data.get("accelerators", ()))

    @model_validator(mode="after")
    def _fits(self) -> SpecRequest:
        if self.block % self.nm.m:
            raise ValueError(f"block {self.block} holds no whole groups of {self.nm.m}")
        floor = 1 - self.nm.density
        if as_fraction(self.sparsity) < floor:
            raise ValueError(
                f"sparsity {self.sparsity:g} is below {float(floor):g},"
                f" what {self.nm} alone removes"
            )
        return self

    @property
    def mapping(self) -> MapRequest:
        """How mappings are found."""
        return MapRequest(self.objective, self.mapper, self.mapper_seconds)

    @property
    def draw(self) -> Draw:
        """Masks at the pattern for every layer that can hold it."""
        return Draw(self.nm, self.block, self.sparsity, self.seed, spare_ends=False)


def spec_request(given: dict[str, Any]) -> SpecRequest:
    """A request from options of the command line.

    Raises:
        CrispLoopError: a value that cannot be used.
    """
    return validated(given, SpecRequest, "command line")
