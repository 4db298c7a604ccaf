"""Write the Sparseloop specs of a workload on every design."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from crisp_loop.accelerators import Accelerator, load_accelerator, problem_for
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import read_json, sha256, write_json
from crisp_loop.core.gemm import Gemm, Workload
from crisp_loop.core.manifest import Manifest, SpecEntry
from crisp_loop.core.mappings import MappingFile, read_mappings
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.render import render_spec

BASELINE = "dense"
"""The design that every ratio is relative to."""


def write_specs(
    workload: Path,
    mappings: Path,
    accelerators: Sequence[str],
    out_dir: Path,
    progress: Progress | None = None,
) -> Manifest:
    """Render ``<accelerator>/<layer>/*.yaml`` and ``manifest.json`` under ``out_dir``.

    The directory is replaced as a whole: specs of an earlier run do not linger, and a run that
    fails leaves the earlier one.

    Args:
        workload: ``workload.json``.
        mappings: Directory with one mapping file a design.
        accelerators: Names of designs, or paths of arch files.
        out_dir: The specs' directory.
        progress: Who hears of it.
    """
    work = read_json(workload, Workload, "workload")
    designs = [load_accelerator(name) for name in accelerators]
    jobs = [(design, gemm) for design in designs for gemm in work.gemms]
    maps = {design.name: read_mappings(mappings / f"{design.name}.yaml") for design in designs}
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    try:
        entries = [
            _write_one(fresh, work, design, gemm, maps[design.name])
            for design, gemm in (progress or Quiet()).track(jobs, "Rendering specs")
        ]
        manifest = Manifest(model=work.model, baseline=BASELINE, entries=tuple(entries))
        write_json(fresh / "manifest.json", manifest)
        if out_dir.exists():
            shutil.rmtree(out_dir)
        fresh.chmod(0o755)
        fresh.rename(out_dir)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return manifest


def _write_one(
    root: Path, work: Workload, design: Accelerator, gemm: Gemm, mappings: MappingFile
) -> SpecEntry:
    problem = problem_for(design, gemm)
    nest = mappings.nest(problem.key)
    if nest is None:
        raise CrispLoopError(
            f"mapping/{design.name}.yaml has no mapping for layer {gemm.layer!r}"
            f" ({problem.key}); run the mapping stage again."
        )
    columns = nest.bound("N")
    texts = render_spec(design, problem.padded(columns), nest)
    directory = root / design.name / directory_name(gemm.layer)
    directory.mkdir(parents=True)
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
    return SpecEntry(
        spec=directory.relative_to(root).as_posix(),
        model=work.model,
        layer=gemm.layer,
        accelerator=design.name,
        n=work.nm.n,
        m=work.nm.m,
        block=gemm.weight.block,
        form=gemm.weight.form,
        weight_density=gemm.weight.density,
        activation_density=gemm.activation_density,
        groups=gemm.groups,
        M=gemm.M,
        K=gemm.K,
        N=gemm.N,
        N_padding=columns - gemm.N,
        metadata_bits=problem.metadata_bits,
        cycle_correction=problem.cycle_correction,
        ert=sha256(texts["energy.yaml"])[:12],
        mapping=sha256(texts["mapping.yaml"])[:12],
    )


def directory_name(layer: str) -> str:
    """A layer's name as one path component: no separators, no leading dots."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", layer).lstrip(".") or "layer"
