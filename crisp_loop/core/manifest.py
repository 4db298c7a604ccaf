"""The manifest: which spec stands for which layer on which accelerator.

``specs`` writes it beside the specs, ``report`` reads it together with the evaluations.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from crisp_loop.core.bounded import Count, Rows, Share, Size
from crisp_loop.core.files import sha256
from crisp_loop.core.names import InnerPath, Label, Name

_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, config=_config)
class SpecEntry:
    """One layer on one accelerator, and the spec that prices it."""

    spec: InnerPath
    """The spec's directory or file, relative to the manifest's directory."""
    model: Label
    layer: Name
    accelerator: Name
    n: Size
    m: Size
    block: Size | None
    """B; None where the layer has no block pattern."""
    form: Label
    """How the weights are stored: ``dense``, ``nm``, ``hybrid``, or a design's own form."""
    weight_density: Share
    """Share of non-zero weights, 0 to 1."""
    activation_density: Share
    """Share of non-zero activations that the spec assumes, 0 to 1."""
    groups: Size
    """Groups of a grouped convolution; M and K are per group."""
    M: Size
    K: Size
    N: Size
    """Columns of the activation matrix, padding excluded."""
    N_padding: Count
    """Columns added so that the mapping's factors divide N."""
    metadata_bits: Count
    """Bits of weight metadata of the whole layer."""
    ert: str
    """Hash of the energy table."""
    mapping: str
    """Hash or name of the mapping."""
    scale: Size = 1
    """How many times the evaluated spec runs to make the layer; cycles, energy and words
    multiply."""
    cycle_correction: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Factor on the arithmetic level's cycles for what Sparseloop cannot express (DSTC's lane
    quantisation)."""
    mode: Label = ""
    """The design's mode that runs the layer."""
    note: str = ""
    """Why the layer's weights are dense, or what of their mask was approximated and by how much."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file of the spec."""

    @property
    def spec_hash(self) -> str:
        """One hash over the spec's files, by name and content; empty where they are not known."""
        each = [f"{name} {digest}" for name, digest in sorted(self.files.items())]
        return sha256("\n".join(each))[:12] if each else ""


@dataclass(frozen=True, kw_only=True, config=_config)
class Manifest:
    """The specs of one network on several accelerators."""

    model: Label
    baseline: Name
    """Name of the accelerator that every ratio is taken over."""
    entries: Rows[SpecEntry]
    versions: dict[str, str] = field(default_factory=dict)
    """Of crisp_loop and what renders its templates."""
    inputs: dict[str, str] = field(default_factory=dict)
    """SHA-256 of everything that decides the specs: files, designs, templates."""
