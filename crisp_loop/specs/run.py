"""Write the Sparseloop specs of a workload on every design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from pathlib import Path

from crisp_loop import __version__
from crisp_loop.accelerators import Accelerator, check_nest, load_accelerators, problem_for
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import read_json, replacing_directory, sha256, write_json
from crisp_loop.core.gathers import GATHER_FILE, GatherFile
from crisp_loop.core.gemm import Gemm, Workload
from crisp_loop.core.manifest import Manifest, SpecEntry
from crisp_loop.core.mappings import MappingFile, read_mappings
from crisp_loop.core.names import file_name
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.render import render_spec, templates_hash

BASELINE = "dense"
"""The design that every ratio is relative to."""


def write_specs(
    workload: Path,
    mappings: Path,
    accelerators: Sequence[str],
    out_dir: Path,
    progress: Progress | None = None,
    sources: Sequence[Path] = (),
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
        sources: Files that the workload was made from, for the manifest's ``inputs``.

    Raises:
        CrispLoopError: unreadable files, two designs of one name, or a layer without a mapping.
    """
    work = read_json(workload, Workload, "workload")
    designs = load_accelerators(accelerators)
    directories = directory_names([gemm.layer for gemm in work.gemms])
    jobs = [
        (design, gemm, f"{design.name}/{directory}")
        for design in designs
        for gemm, directory in zip(work.gemms, directories, strict=True)
    ]
    files = {design.name: mappings / f"{design.name}.yaml" for design in designs}
    maps = {name: read_mappings(file) for name, file in files.items()}
    inputs = {f"arch/{design.name}": sha256(design.model_dump_json()) for design in designs}
    inputs |= {f"mapping/{file.name}": _hash_of(file) for file in files.values()}
    inputs |= {path.name: _hash_of(path) for path in (workload, *sources)}
    inputs["templates"] = templates_hash()
    with replacing_directory(out_dir) as fresh:
        entries = [
            _write_one(fresh / spec, spec, work, design, gemm, maps[design.name])
            for design, gemm, spec in (progress or Quiet()).track(jobs, "Rendering specs")
        ]
        manifest = Manifest(
            model=work.model,
            baseline=BASELINE,
            entries=tuple(entries),
            versions={"crisp_loop": __version__, "jinja2": version("jinja2")},
            inputs=inputs,
        )
        write_json(fresh / "manifest.json", manifest)
    return manifest


def _write_one(
    directory: Path,
    spec: str,
    work: Workload,
    design: Accelerator,
    gemm: Gemm,
    mappings: MappingFile,
) -> SpecEntry:
    exact = problem_for(design, gemm, exact=True)
    problem = replace(exact, gather=None)
    # A mapping for the blocks that are really read comes before one that knows their number alone.
    nest = mappings.nest(exact.key) or mappings.nest(problem.key)
    if nest is None:
        raise CrispLoopError(
            f"mapping/{design.name}.yaml has no mapping for layer {gemm.layer!r}"
            f" ({problem.key}); run the mapping stage again."
        )
    check_nest(design, problem, nest)
    columns = nest.bound("N")
    texts = render_spec(design, problem.padded(columns), nest)
    directory.mkdir(parents=True)
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
    hashes = {name: sha256(text) for name, text in texts.items()}
    if problem.mode.problem == "compact" and gemm.weight.block_indices:
        gather = directory / GATHER_FILE
        write_json(gather, GatherFile(gemm.weight.block_indices))
        hashes[GATHER_FILE] = _hash_of(gather)
    return SpecEntry(
        spec=spec,
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
        ert=hashes["energy.yaml"][:12],
        mapping=hashes["mapping.yaml"][:12],
        mode=problem.mode.name,
        note=gemm.weight.note,
        files=hashes,
    )


def _hash_of(path: Path) -> str:
    return sha256(path.read_bytes()) if path.is_file() else _hash_of_files(path)


def _hash_of_files(directory: Path) -> str:
    """One hash over the YAML files of a directory, by name and content."""
    files = sorted(file for file in directory.rglob("*.yaml") if file.is_file())
    each = [f"{file.relative_to(directory).as_posix()} {_hash_of(file)}" for file in files]
    return sha256("\n".join(each))


def directory_names(layers: Sequence[str]) -> list[str]:
    """One directory a layer; where two names become the same, the later gets a number.

    Names differ in more than their letters' case, which some file systems do not tell apart.
    """
    taken: set[str] = set()
    names = []
    for layer in layers:
        plain = file_name(layer)
        numbered = (f"{plain}~{number}" for number in count(2))
        name = plain
        while name.lower() in taken:
            name = next(numbered)
        taken.add(name.lower())
        names.append(name)
    return names
