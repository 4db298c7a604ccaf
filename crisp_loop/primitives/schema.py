"""The primitives that designs are made of, named as Accelergy 0.4 names them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

DramType = Literal["LPDDR4", "LPDDR", "DDR3", "GDDR5", "HBM2", "HMC"]
LogicClass = Literal[
    "aladdin_register", "aladdin_multiplier", "aladdin_adder", "reg", "intmultiplier", "intadder"
]

LOGIC_ACTIONS: dict[LogicClass, str] = {
    "aladdin_register": "read",
    "aladdin_multiplier": "multiply",
    "aladdin_adder": "add",
    "reg": "read",
    "intmultiplier": "multiply",
    "intadder": "add",
}
"""The one action of each class that has an energy: Aladdin's tables know one number a component,
and what Accelergy says of a write to ``aladdin_register`` is 0."""


class _Primitive(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    count: PositiveInt = 1
    """Copies side by side: the area is that of all, and an action is of one."""


class SRAM(_Primitive):
    """A memory macro, estimated by CACTI."""

    class_: Literal["SRAM"] = Field(
        default="SRAM", validation_alias="class", serialization_alias="class"
    )
    depth: PositiveInt
    """Blocks of ``width`` bits over all banks."""
    width: PositiveInt
    """Bits that an access reads or writes."""
    banks: PositiveInt = 1
    """Banks inside the macro: a power of two."""
    ports: PositiveInt = 1
    """Read-write ports."""

    @property
    def actions(self) -> tuple[str, ...]:
        """Actions that have an energy."""
        return ("read", "write")

    @property
    def attributes(self) -> dict[str, int | str]:
        """Accelergy's attributes."""
        return {
            "depth": self.depth,
            "width": self.width,
            "n_banks": self.banks,
            "n_rw_ports": self.ports,
        }

    @property
    def estimator(self) -> str:
        """The Accelergy plug-in that is meant."""
        return "CactiSRAM"

    def __str__(self) -> str:
        banks = f", {self.banks} banks" if self.banks > 1 else ""
        ports = f", {self.ports} ports" if self.ports > 1 else ""
        return f"{_times(self.count)}SRAM {self.depth} x {self.width} b{banks}{ports}"


class DRAM(_Primitive):
    """Memory off the chip, at public energies a bit."""

    class_: Literal["DRAM"] = Field(
        default="DRAM", validation_alias="class", serialization_alias="class"
    )
    type: DramType = "LPDDR4"
    width: PositiveInt
    """Bits that an access reads or writes."""

    @property
    def actions(self) -> tuple[str, ...]:
        """Actions that have an energy."""
        return ("read", "write")

    @property
    def attributes(self) -> dict[str, int | str]:
        """Accelergy's attributes."""
        return {"type": self.type, "width": self.width}

    @property
    def estimator(self) -> str:
        """The Accelergy plug-in that is meant."""
        return "CactiDRAM"

    def __str__(self) -> str:
        return f"{_times(self.count)}{self.type} DRAM {self.width} b"


class Logic(_Primitive):
    """A register, multiplier or adder of Aladdin's tables.

    Accelergy has those tables twice. ``aladdin_*`` are the entries of its Library plug-in (40 nm,
    scaled to the technology), the others those of its Aladdin plug-in (40 and 45 nm alike).
    """

    class_: LogicClass = Field(validation_alias="class", serialization_alias="class")
    width: PositiveInt
    """Bits of a register, an adder, or each operand of a multiplier."""

    @property
    def actions(self) -> tuple[str, ...]:
        """Actions that have an energy."""
        return (LOGIC_ACTIONS[self.class_],)

    @property
    def attributes(self) -> dict[str, int | str]:
        """Accelergy's attributes."""
        if self.class_ == "aladdin_multiplier":
            return {"width": self.width, "width_a": self.width, "width_b": self.width}
        return {"width": self.width}

    @property
    def estimator(self) -> str:
        """The Accelergy plug-in that is meant."""
        return "Library" if self.class_.startswith("aladdin") else "Aladdin_table"

    def __str__(self) -> str:
        return f"{_times(self.count)}{self.class_} {self.width} b"


Primitive = Annotated[SRAM | DRAM | Logic, Field(discriminator="class_")]


def _times(count: int) -> str:
    return f"{count} x " if count > 1 else ""
