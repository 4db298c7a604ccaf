"""The architecture section and its energy table (ERT): storage levels and the compute units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from crisp_loop.core.errors import InputError
from crisp_loop.sparseloop.fields import Field

STORAGE_CLASSES = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage")
COMPUTE_CLASSES = ("mac", "intmac", "fpmac", "compute")

# Timeloop reads these names in this order and takes the first that is present.
_WORD_BITS = ("word_bits", "word_width", "datawidth")
_BLOCK_SIZE = ("block_size", "n_words")
_WIDTH = ("width", "memory_width", "data_storage_width")
_DEPTH = ("depth", "memory_depth", "data_storage_depth")
_METADATA_WORD_BITS = ("metadata_datawidth", "metadata_word_bits")
_METADATA_WIDTH = ("metadata_storage_width", "metadata_width")
_METADATA_DEPTH = ("metadata_storage_depth", "metadata_depth")

# Attributes that only the energy estimator reads, so they change nothing here.
_IGNORED = {
    *("type", "technology", "latency", "n_banks", "num_banks", "n_rdwr_ports", "n_rd_ports"),
    *("n_wr_ports", "concordant_compressed_tile_traversal"),
}
# Attributes whose other values would change the model.
_NEUTRAL: dict[str, object] = {
    "cluster_size": 1,
    "multiple_buffering": 1,
    "min_utilization": 0,
    "metadata_block_size": 1,
    "network_fill_latency": 0,
    "network_drain_latency": 0,
    "allow_overbooking": False,
    "decompression_supported": False,
    "compression_supported": False,
    "tile_partition_supported": False,
}
_STORAGE_ATTRIBUTES = {
    *_WORD_BITS,
    *_BLOCK_SIZE,
    *_WIDTH,
    *_DEPTH,
    *("entries", "sizeKB"),
    *_METADATA_WORD_BITS,
    *_METADATA_WIDTH,
    *_METADATA_DEPTH,
    *("num_ports", "n_ports", "meshX", "meshY"),
    *("read_bandwidth", "write_bandwidth", "shared_bandwidth"),
    *_IGNORED,
    *_NEUTRAL,
}
_COMPUTE_ATTRIBUTES = {"word_bits", "datawidth", "meshX", "meshY", *_IGNORED}

# Action of the model -> names in an energy table, the first that is present counts.
_STORAGE_ACTIONS = {
    "read": ("random_read", "read"),
    "fill": ("random_fill", "random_write", "fill", "write"),
    "update": ("random_update", "random_write", "update", "write"),
    "skipped_read": ("skipped_read", "gated_read"),
    "skipped_update": ("skipped_update", "skipped_write", "gated_update", "gated_write"),
    "metadata_read": ("random_metadata_read", "metadata_read"),
    "skipped_metadata_read": ("skipped_metadata_read", "gated_metadata_read"),
    "metadata_fill": (
        *("random_metadata_fill", "random_metadata_write"),
        *("metadata_fill", "metadata_write"),
    ),
    "metadata_update": (
        *("random_metadata_update", "random_metadata_write"),
        *("metadata_update", "metadata_write"),
    ),
    "skipped_metadata_update": (
        *("skipped_metadata_update", "skipped_metadata_write"),
        *("gated_metadata_update", "gated_metadata_write"),
    ),
    "leak": ("leak",),
}
_COMPUTE_ACTIONS = {
    "compute": ("mac_random", "mult_random", "mac", "mult", "compute"),
    "skipped_compute": (
        *("mac_skipped", "mult_skipped", "compute_skipped", "mac_gated", "mult_gated"),
        *("compute_gated", "mac", "mult", "compute"),
    ),
}
_NEEDED = {"read", "fill", "update", "compute"}


@dataclass(frozen=True)
class Mesh:
    """How many instances a level has, and how they are laid out."""

    instances: int
    x: int
    y: int


@dataclass(frozen=True)
class StorageLevel:
    """One storage level; sizes are per instance."""

    name: str
    mesh: Mesh
    word_bits: int
    block_size: int
    """Words a vector access moves."""
    capacity: int | None
    """Data words; None without bound (DRAM)."""
    metadata_width: int
    """Bits of one metadata access; 0 when there is no metadata store."""
    metadata_word_bits: int
    """Bits of a metadata word whose format does not say."""
    metadata_capacity: int
    """Bits; checked only where ``capacity`` is."""
    read_bandwidth: float | None
    """Words a cycle, as the other two; None without bound."""
    write_bandwidth: float | None
    shared_bandwidth: float | None
    energy: Mapping[str, float]
    """pJ an access, by the names of this module's actions."""


@dataclass(frozen=True)
class ComputeUnits:
    """The arithmetic level."""

    name: str
    mesh: Mesh
    energy: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Architecture:
    """The hierarchy; levels are innermost first."""

    levels: tuple[StorageLevel, ...]
    compute: ComputeUnits

    def index(self, name: str) -> int | None:
        """The storage level called ``name``."""
        for index, level in enumerate(self.levels):
            if level.name == name:
                return index
        return None

    @cached_property
    def fanouts(self) -> tuple[tuple[int, int], ...]:
        """[level] instances of the next inner level below one, along X and Y."""
        inner = (self.compute.mesh, *(level.mesh for level in self.levels))
        return tuple(
            (below.x // level.mesh.x, below.y // level.mesh.y)
            for level, below in zip(self.levels, inner, strict=False)
        )


def parse_architecture(architecture: Field, ert: Field) -> Architecture:
    """The tree of ``architecture`` with the energies of ``ERT``."""
    energies = _parse_ert(ert)
    top = architecture.entries({"version", "subtree"})
    if "version" in top and str(top["version"].value) not in ("0.2", "0.3", "0.4"):
        raise top["version"].error("expected 0.3")
    levels: list[StorageLevel] = []
    compute: list[ComputeUnits] = []
    node, multiplicity = architecture, 1
    while "subtree" in node.entries():
        children = node.entries()["subtree"].items()
        if len(children) != 1:
            raise node.entries()["subtree"].error("expected one subtree a level")
        node = children[0]
        fields = node.entries({"name", "attributes", "local", "subtree"})
        multiplicity *= _bare_name(node.required(fields, "name"))[1]
        local: list[StorageLevel] = []
        for component in fields["local"].items() if "local" in fields else []:
            parts = component.entries({"name", "class", "subclass", "attributes"})
            name, count = _bare_name(component.required(parts, "name"))
            kind = component.required(parts, "class").text()
            attributes = parts.get("attributes", Field(component.where, component.path, {}))
            if any(each in kind for each in STORAGE_CLASSES):
                action = _energies(energies, name, _STORAGE_ACTIONS, ert)
                local.append(_storage(name, attributes, multiplicity * count, action, component))
            elif any(each in kind for each in COMPUTE_CLASSES):
                action = _energies(energies, name, _COMPUTE_ACTIONS, ert)
                known = attributes.entries(_COMPUTE_ATTRIBUTES)
                mesh = _mesh(known, multiplicity * count, component)
                compute.append(ComputeUnits(name, mesh, action))
            else:
                raise parts["class"].unsupported(
                    f"expected a storage class ({', '.join(STORAGE_CLASSES)})"
                    f" or a compute class ({', '.join(COMPUTE_CLASSES)})"
                )
        # Within one node the first component is the outermost.
        levels = local[::-1] + levels
    if not levels or len(compute) != 1:
        found = f"{len(levels)} storage levels and {len(compute)} compute levels"
        raise InputError(architecture.where, architecture.path, found, "expected one compute level")
    names = [level.name for level in levels] + [compute[0].name]
    for name in names:
        if names.count(name) > 1:
            raise InputError(architecture.where, architecture.path, name, "level names must differ")
    result = Architecture(tuple(levels), compute[0])
    inner = compute[0].mesh
    for level in levels:
        if inner.x % level.mesh.x or inner.y % level.mesh.y:
            shown = f"{level.name} {level.mesh.x} x {level.mesh.y} over {inner.x} x {inner.y}"
            raise InputError(
                architecture.where,
                architecture.path,
                shown,
                "a level's mesh must divide the mesh of the level below it",
            )
        inner = level.mesh
    return result


def _bare_name(field: Field) -> tuple[str, int]:
    """``PE[0..63]`` as ("PE", 64)."""
    text = field.text()
    match = re.fullmatch(r"([^\[\]]{1,300})(?:\[(\d{1,9})\.\.(\d{1,9})\])?", text)
    if not match or not text.isprintable() or (match[2] and int(match[3]) < int(match[2])):
        raise field.error("expected NAME or NAME[0..N]")
    return match[1], int(match[3]) - int(match[2]) + 1 if match[2] else 1


def _mesh(attributes: dict[str, Field], instances: int, component: Field) -> Mesh:
    x = attributes["meshX"].whole(1) if "meshX" in attributes else None
    y = attributes["meshY"].whole(1) if "meshY" in attributes else None
    if x is None and y is None:
        return Mesh(instances, instances, 1)
    if x is None:
        x = instances // (y or 1)
    if y is None:
        y = instances // x
    if x * y != instances:
        shown = f"meshX {x}, meshY {y}"
        raise InputError(
            component.where,
            component.path,
            shown,
            f"expected meshX * meshY = {instances} instances",
        )
    return Mesh(instances, x, y)


def _first(attributes: dict[str, Field], names: tuple[str, ...]) -> Field | None:
    return next((attributes[name] for name in names if name in attributes), None)


def _whole(attributes: dict[str, Field], names: tuple[str, ...], default: int, least: int) -> int:
    field = _first(attributes, names)
    return default if field is None else field.whole(least)


def _storage(
    name: str, attributes: Field, instances: int, energy: Mapping[str, float], component: Field
) -> StorageLevel:
    known = attributes.entries(_STORAGE_ATTRIBUTES)
    for key, value in _NEUTRAL.items():
        if key in known and known[key].value != value:
            raise known[key].unsupported(f"expected {value}")
    for key in ("num_ports", "n_ports"):
        if key in known and known[key].value not in (1, 2):
            raise known[key].error("expected 1 or 2")
    word_bits = _whole(known, _WORD_BITS, 16, 1)
    block_size = _whole(known, _BLOCK_SIZE, 1, 1)
    width = _first(known, _WIDTH)
    if width is not None:
        if width.whole(1) % (word_bits * block_size):
            raise width.error(f"expected a multiple of the word, {word_bits * block_size} bits")
        if _first(known, _BLOCK_SIZE) is None:
            block_size = width.whole(1) // word_bits
        elif width.whole(1) != word_bits * block_size:
            raise width.unsupported("several words of a width need cluster_size other than 1")
    depth = _first(known, _DEPTH)
    capacity = None
    if "entries" in known:
        capacity = known["entries"].whole(1)
    elif depth is not None:
        capacity = depth.whole(1) * block_size
    elif "sizeKB" in known:
        capacity = known["sizeKB"].whole(1) * 1024 * 8 // word_bits
    elif "DRAM" not in str(component.entries()["class"].value):
        raise component.error("a memory other than DRAM needs its depth")
    metadata_width = _whole(known, _METADATA_WIDTH, 0, 0)
    metadata_word_bits = _whole(known, _METADATA_WORD_BITS, 0, 0)
    if metadata_word_bits and metadata_width % metadata_word_bits:
        raise component.error("metadata_storage_width must be a multiple of metadata_word_bits")
    bandwidths = {
        key: known[key].number() if key in known else None
        for key in ("read_bandwidth", "write_bandwidth", "shared_bandwidth")
    }
    for key, value in bandwidths.items():
        if value == 0:
            raise known[key].error("expected a number above 0")
    return StorageLevel(
        name=name,
        mesh=_mesh(known, instances, component),
        word_bits=word_bits,
        block_size=block_size,
        capacity=capacity,
        metadata_width=metadata_width,
        metadata_word_bits=metadata_word_bits,
        metadata_capacity=_whole(known, _METADATA_DEPTH, 0, 0) * metadata_width,
        energy=energy,
        **bandwidths,
    )


def _parse_ert(ert: Field) -> dict[str, dict[str, float]]:
    """Component name (without its path) to action to pJ, the dearest where one is repeated."""
    top = ert.entries({"version", "tables"})
    if "version" in top and str(top["version"].value) not in ("0.3", "0.4"):
        raise top["version"].error("expected 0.3")
    tables: dict[str, dict[str, float]] = {}
    for table in ert.required(top, "tables").items():
        fields = table.entries()
        path = table.required(fields, "name")
        match = re.fullmatch(r"(?:.*\.)?([^.\[\]]+)(?:\[\d+\.\.\d+\])?", path.text())
        if not match:
            raise path.error("expected a component's path, such as system.SM.SMEM")
        if match[1].lower() == "wire":
            raise path.unsupported("wires cost nothing in it")
        if match[1] in tables:
            raise path.error(f"a table for {match[1]} was already given")
        actions: dict[str, float] = {}
        for action in table.required(fields, "actions").items():
            entries = action.entries()
            name = action.required(entries, "name").text()
            energy = action.required(entries, "energy").number()
            actions[name] = max(energy, actions.get(name, 0.0))
        tables[match[1]] = actions
    return tables


def _energies(
    tables: dict[str, dict[str, float]], name: str, wanted: dict[str, tuple[str, ...]], ert: Field
) -> dict[str, float]:
    """pJ an action; what a table does not name costs nothing, except reads, writes, computes."""
    if name not in tables:
        raise InputError(ert.where, "ERT.tables", sorted(tables), f"a table for {name} is missing")
    table, energies = tables[name], {}
    for action, names in wanted.items():
        found = next((table[each] for each in names if each in table), None)
        if found is None and action in _NEEDED:
            raise InputError(
                ert.where, f"ERT.tables ({name})", sorted(table), f"action {names[-1]!r} is missing"
            )
        energies[action] = found or 0.0
    return energies
