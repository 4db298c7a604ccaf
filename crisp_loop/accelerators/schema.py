"""What an ``arch/*.yaml`` says: an accelerator in numbers.

Structure (how a spec section is written) lives in ``templates/``; every number lives here.
Fields that Sparseloop knows carry Sparseloop's names and units.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from crisp_loop.core.loops import DIMENSIONS
from crisp_loop.core.names import Label
from crisp_loop.core.pattern import NMField
from crisp_loop.primitives.schema import DramType, Primitive

Tensor = Literal["A", "B", "Z"]
Dimension = Literal["R", "M", "N", "Q", "K"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=64)]
"""Names end up in specs and file names, so they hold no punctuation."""
STATED = "stated by the design"
"""Provenance of a figure that an arch file gives as a number."""
Picojoules = Annotated[float, Field(ge=0)]
SquareMicrometres = Annotated[float, Field(ge=0)]
PartAction = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\.[a-z_]+$")]
"""An action of a part, as ``data.read``."""
PartName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MetadataStore(_Part):
    """The part of a level that holds representation-format metadata."""

    width: PositiveInt
    """Bits a metadata block. Word bits are rounded up to its next divisor; 48 has many."""
    depth: PositiveInt | None = None
    """Blocks; none for a level without a capacity limit."""


class Priced(_Part):
    """What a level or the compute unit is made of, and what its actions cost.

    A file may leave all of it open: :func:`crisp_loop.accelerators.pricing.priced` fills it in.
    """

    parts: dict[PartName, Primitive] = {}
    """Accelergy's primitives in one instance. Those that a file does not name follow from the
    numbers of the level or unit (:mod:`crisp_loop.accelerators.parts`)."""
    actions: dict[PartName, tuple[PartAction, ...]] = {}
    """Which actions of the parts make up one action here; their energies add up."""
    energy: dict[PartName, Picojoules] = {}
    """pJ an action on one block, or a unit and cycle. In a file: what it states in place of
    ``actions``. Every action is charged: Timeloop silently charges 0 for a missing one."""
    area: SquareMicrometres | None = None
    """um^2 an instance. In a file: what it states in place of the sum over the parts."""

    def provenance(self, action: str) -> str:
        """Where the energy of ``action`` comes from, in a few words."""
        if action not in self.actions:
            return STATED
        terms = (term.partition(".") for term in self.actions[action])
        return " + ".join(f"{name}.{act} ({self.parts[name]})" for name, _, act in terms)


class Container(_Part):
    """A node of the hardware tree, outermost first."""

    name: Name
    count: PositiveInt = 1
    """Instances inside one instance of the parent node."""
    holds: tuple[str, ...]
    """Storage levels and the compute unit that stand in this node, outermost first."""


class Level(Priced):
    """One storage level. Its actions: read, write, metadata_read and metadata_write."""

    name: Name
    kind: Literal["DRAM", "SRAM"]
    depth: PositiveInt | None = None
    """Blocks of ``width`` bits; none for DRAM."""
    width: PositiveInt
    """Bits of a data block, what one access reads or writes."""
    datawidth: PositiveInt = 8
    """Bits of a word."""
    banks: PositiveInt = 1
    banking: Literal["joint", "separate"] = "joint"
    """Whether the banks are those of one macro, or each is a memory by itself and an access pays
    for one of them."""
    ports: PositiveInt = 1
    """Read-write ports a bank."""
    dram_type: DramType = "LPDDR4"
    """Which DRAM a level of kind DRAM is."""
    metadata: MetadataStore | None = None
    read_bandwidth: PositiveFloat | None = None
    """Words a cycle and instance, metadata included; none = as fast as the arithmetic."""
    write_bandwidth: PositiveFloat | None = None
    mesh: tuple[PositiveInt, PositiveInt] = (1, 1)
    """Instances over the chip as (X, Y); X * Y is their number."""
    keep: tuple[Tensor, ...]
    """Tensors stored here; the others bypass the level."""

    count: ClassVar[int] = 1
    """A level stands once in its node; nodes may have many instances."""

    @property
    def class_name(self) -> str:
        """Name of its class among the compound components."""
        return f"{self.name}_memory"

    @model_validator(mode="after")
    def _shaped(self) -> Level:
        block = self.width // self.datawidth
        if self.width % self.datawidth or block not in (1, 2, 4, 8, 16, 32):
            raise ValueError(
                f"width / datawidth is {self.width}/{self.datawidth};"
                " expected 1, 2, 4, 8, 16 or 32 words a block"
            )
        if (self.kind == "SRAM") != (self.depth is not None):
            raise ValueError("depth belongs to SRAM levels, and each of them needs it")
        return self


class Compute(Priced):
    """The multiply-accumulate units. Their actions: ``mac_random`` (an actual compute),
    ``mac_gated`` and ``mac_skipped``."""

    name: Name
    count: PositiveInt = 1
    """Units inside one instance of the node that holds them."""
    mesh: tuple[PositiveInt, PositiveInt]
    """All units as (X, Y)."""
    datawidth: PositiveInt = 8
    """Bits of an operand; products and sums are twice as wide."""

    @property
    def class_name(self) -> str:
        """Name of its class among the compound components."""
        return f"{self.name}_unit"

    @property
    def instances(self) -> int:
        """Number of units on the chip."""
        return self.mesh[0] * self.mesh[1]


class Slot(_Part):
    """A place in the loop nest, and which loops the dataflow allows there."""

    level: str
    kind: Literal["temporal", "spatial"]
    dims: dict[Dimension, PositiveInt | None]
    """Allowed dimensions with their largest bound; none = any bound. ``lanes`` widens K."""
    total: PositiveInt | None = None
    """Largest product of all bounds here."""
    orders: tuple[str, ...]
    """Allowed loop orders, innermost dimension first."""
    split: int | None = None
    """Spatial only: how many of the order's first dimensions lie along X."""

    @model_validator(mode="after")
    def _orders_are_permutations(self) -> Slot:
        for order in self.orders:
            if sorted(order) != sorted(DIMENSIONS):
                raise ValueError(f"order {order!r} must hold each of {''.join(DIMENSIONS)} once")
        return self


class Format(_Part):
    """The representation format of one tensor."""

    tensor: Tensor
    levels: tuple[str, ...]
    rule: Name
    """File of ``templates/formats/`` that gives each loop its rank format."""


class Saf(_Part):
    """A storage sparse-acceleration feature."""

    level: str
    type: Literal["skipping", "skipping_spatial", "gating"]
    target: Tensor
    condition_on: tuple[Tensor, ...]


class Accepts(_Part):
    """Which weights a mode takes."""

    forms: tuple[Literal["dense", "nm", "hybrid", "unstructured"], ...]
    patterns: tuple[NMField, ...] | None = None
    """N:M patterns; none = any."""


class Mode(_Part):
    """A way to run a GEMM on the hardware. The first mode that accepts the weights is taken."""

    name: Label
    accepts: Accepts
    problem: Literal["matrix", "compact"] = "matrix"
    """``matrix``: Z[M,N] = A[M,K] B[K,N]. ``compact``: one small GEMM a block-row over its kept
    blocks, each block-row gathering its own inputs."""
    runs_as: NMField | None = None
    """The N:M pattern that the hardware sees, when it is not the weights' own."""
    densities: dict[Tensor, Literal["pattern", "weight", "activation"]] = {}
    """Tensors with a density model, and whose density it is: the N:M pattern's, the layer's
    weights', or its activations'."""
    distribution: Literal["fixed_structured", "hypergeometric"] = "fixed_structured"
    lanes_hold_candidates: bool = False
    """Whether K lanes select among M candidates, so that K = M * floor(lanes / N) lie across
    ``lanes`` multipliers."""
    formats: tuple[Format, ...] = ()
    actions: tuple[Saf, ...] = ()
    compute_optimization: Literal["skipping", "gating"] | None = None


class LaneQuantisation(_Part):
    """Sparse outer-product lanes work in whole steps, which Sparseloop cannot express.

    A fragment of ``fragment`` elements with density d takes ceil(Binomial(fragment, d) / step)
    steps instead of fragment * d / step (DSTC, Wang et al., ISCA 2021, section 4).
    """

    fragment: Annotated[int, Field(ge=1, le=512)]
    steps: dict[Literal["A", "B"], PositiveInt]


class Accelerator(_Part):
    """One design."""

    name: Name
    """Name on the command line and in results."""
    title: Label
    about: Label
    """One sentence: what the design does with zeros."""
    technology: Annotated[str, Field(pattern=r"^[0-9]{1,4}nm$")]
    tree: tuple[Container, ...]
    levels: tuple[Level, ...]
    """Storage levels, outermost first."""
    compute: Compute
    dataflow: tuple[Slot, ...]
    """Slots of the loop nest, outermost first."""
    relax: tuple[tuple[str, Dimension], ...] = ()
    """(level, dimension) pairs that a temporal slot also allows, tried when a layer has no
    legal mapping without them."""
    modes: tuple[Mode, ...]
    lane_quantisation: LaneQuantisation | None = None

    @model_validator(mode="after")
    def _names_agree(self) -> Accelerator:
        names = [level.name for level in self.levels]
        held = [name for node in self.tree for name in node.holds]
        if held != [*names, self.compute.name]:
            raise ValueError(
                f"tree holds {', '.join(held)}; expected {', '.join([*names, self.compute.name])}"
            )
        used = [slot.level for slot in self.dataflow]
        used += [f for mode in self.modes for form in mode.formats for f in form.levels]
        used += [saf.level for mode in self.modes for saf in mode.actions]
        for name in used:
            if name not in names:
                raise ValueError(f"level {name!r} is not one of {', '.join(names)}")
        if not any("dense" in mode.accepts.forms for mode in self.modes):
            raise ValueError("modes lack one that accepts dense weights, which every network has")
        return self

    @model_validator(mode="after")
    def _instances_agree(self) -> Accelerator:
        """Meshes and spatial slots are those of the tree."""
        names = [*(level.name for level in self.levels), self.compute.name]
        counts: dict[str, int] = {}
        instances = 1
        for node in self.tree:
            instances *= node.count
            counts |= dict.fromkeys(node.holds, instances)
        counts[self.compute.name] *= self.compute.count
        for name in names:
            if self.instances(name) != counts[name]:
                raise ValueError(
                    f"the mesh of {name} has {self.instances(name)} instances, but the counts in"
                    f" tree make {counts[name]}; change one of them"
                )
        for index, slot in enumerate(self.dataflow):
            if slot.kind != "spatial":
                continue
            inner = names[names.index(slot.level) + 1]
            fanout = counts[inner] // counts[slot.level]
            used = slot.total or prod(limit for limit in slot.dims.values() if limit)
            if None in slot.dims.values() or used != fanout:
                raise ValueError(
                    f"dataflow.{index} spreads over {used} instances of {inner}, and {slot.level}"
                    f" has {fanout} below it; give each of dims a number, and total where their"
                    f" product is not to be {fanout}"
                )
            if slot.split is None:
                raise ValueError(f"dataflow.{index} lacks split: how many of the order lie along X")
        return self

    @model_validator(mode="after")
    def _modes_fit(self) -> Accelerator:
        """Compressed tensors have a store for their metadata, and no level mixes features."""
        for mode in self.modes:
            for form in mode.formats:
                for name in form.levels:
                    level = self.level(name)
                    if level.metadata is None:
                        raise ValueError(f"mode {mode.name}: {name} has no metadata store")
                    if form.tensor not in level.keep:
                        raise ValueError(f"mode {mode.name}: {name} does not keep {form.tensor}")
            kinds: dict[str, str] = {}
            for action in mode.actions:
                kind = kinds.setdefault(action.level, action.type)
                if kind != action.type and "skipping_spatial" in (kind, action.type):
                    raise ValueError(
                        f"mode {mode.name}: {action.level} has both {kind} and {action.type}, and"
                        " one level cannot do both"
                    )
        return self

    @property
    def components(self) -> tuple[Level | Compute, ...]:
        """The levels, outermost first, and the compute unit."""
        return (*self.levels, self.compute)

    @property
    def node(self) -> int:
        """The technology in nm."""
        return int(self.technology.removesuffix("nm"))

    def component(self, name: str) -> Level | Compute:
        """The level or compute unit called ``name``."""
        return next(component for component in self.components if component.name == name)

    def lanes(self) -> int | None:
        """Multipliers across which K lies; None where the dataflow has no such place."""
        return next(
            (s.dims["K"] for s in self.dataflow if s.kind == "spatial" and "K" in s.dims), None
        )

    def level(self, name: str) -> Level:
        """The storage level called ``name``."""
        return next(level for level in self.levels if level.name == name)

    def instances(self, name: str) -> int:
        """Instances of a level or of the compute unit over the chip."""
        mesh = self.compute.mesh if name == self.compute.name else self.level(name).mesh
        return mesh[0] * mesh[1]

    def path(self, name: str) -> str:
        """Full component name, as ``system.SM.Subpartition[0..3].RF``."""
        parts = []
        for node in self.tree:
            parts.append(node.name if node.count == 1 else f"{node.name}[0..{node.count - 1}]")
            if name in node.holds:
                break
        if name == self.compute.name and self.compute.count > 1:
            name = f"{name}[0..{self.compute.count - 1}]"
        return ".".join([*parts, name])
