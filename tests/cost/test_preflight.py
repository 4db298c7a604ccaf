"""Checks before any tool runs: each names file and field, and the tool itself refuses the same."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import dump_yaml
from crisp_loop.core.progress import Quiet
from crisp_loop.core.spec import Spec, load_spec
from crisp_loop.cost.preflight import check_mapping, check_spec
from crisp_loop.cost.run import evaluate_specs
from crisp_loop.cost.timeloop import Timeloop

RENDERED = Path(__file__).parents[1] / "golden/rendered"
CRISP = load_spec(RENDERED / "resnet50-1of4-32-crisp-stc-layer1.1.conv2.yaml")
Sections = dict[str, Any]
Change = Callable[[Sections], None]


def component(sections: Sections, name: str) -> dict[str, Any]:
    node = sections["architecture"]
    while True:
        for each in node.get("local", []):
            if each["name"].split("[")[0] == name:
                return each["attributes"]
        node = node["subtree"][0]


def attributes(name: str, **values: object) -> Change:
    return lambda sections: component(sections, name).update(values)


def directive(sections: Sections, target: str, kind: str) -> dict[str, Any]:
    return next(e for e in sections["mapping"] if (e["target"], e["type"]) == (target, kind))


def factor(target: str, kind: str, dim: str, by: int) -> Change:
    def change(sections: Sections) -> None:
        entry = directive(sections, target, kind)
        factors = dict(word.split("=") for word in entry["factors"].split())
        factors[dim] = str(int(factors[dim]) * by)
        entry["factors"] = " ".join(f"{key}={value}" for key, value in factors.items())

    return change


def both(*changes: Change) -> Change:
    def change(sections: Sections) -> None:
        for each in changes:
            each(sections)

    return change


def grow(dim: str, by: int) -> Change:
    def change(sections: Sections) -> None:
        sections["problem"]["instance"][dim] *= by

    return change


def target_of(sections: Sections, level: str) -> dict[str, Any]:
    return next(t for t in sections["sparse_optimizations"]["targets"] if t["name"] == level)


def ranks(change: Callable[[list[dict[str, Any]]], None], level: str = "SMEM") -> Change:
    def apply(sections: Sections) -> None:
        spaces = target_of(sections, level)["representation_format"]["data_spaces"]
        change(spaces[0]["ranks"])

    return apply


def action(**values: object) -> Change:
    return lambda s: target_of(s, "RF")["action_optimization"][1].update(values)


# (the change, the file, what the message says)
REFUSED: dict[str, tuple[Change, str, str]] = {
    "block of 3 words": (
        attributes("SMEM", data_storage_width=24), "architecture",
        r"local\[0\]\.attributes\.data_storage_width: 24 .* 8, 16, 32, 64, 128, 256",
    ),
    "block of 64 words": (
        attributes("SMEM", data_storage_width=512), "architecture", "a block would be 64 words",
    ),
    "broken word": (
        attributes("SMEM", data_storage_width=250), "architecture", "a multiple of the word, 8 bit",
    ),
    "mesh": (attributes("RF", meshY=3), "architecture", "with meshX 1 and 4 instances, expected 4"),
    "factors": (
        factor("DRAM", "temporal", "N", 2), "mapping", r"the factors of N multiply to .*expected",
    ),
    "unknown level": (
        lambda s: directive(s, "LRF", "temporal").update(target="L9"), "mapping",
        r"target: 'L9' .* expected one of DRAM, SMEM, RF, LRF",
    ),
    "fanout": (
        both(factor("SMEM", "spatial", "R", 8), grow("R", 8)), "mapping",
        r"spread over \d+ instances of RF, and SMEM has 4 below it",
    ),
    "rank order": (
        ranks(lambda r: r[-1].update(format="UOP", metadata_word_bits=0)), "sparse_optimizations",
        r"ranks\[\d\]\.format: 'UOP' .* A at SMEM has CP above it",
    ),
    "rank count": (
        ranks(lambda r: r.__delitem__(slice(0, 2)), "DRAM"), "sparse_optimizations",
        r"A has \d loops at DRAM and inside, and \d ranks",
    ),
    "wide word": (
        ranks(lambda r: r[0].update(metadata_word_bits=49)), "sparse_optimizations",
        "49 .* the metadata store of SMEM is 48 bits wide",
    ),
    "mixed": (
        action(type="skipping"), "sparse_optimizations",
        r"action_optimization\[1\]\.type: 'skipping' .* RF has skipping_spatial already",
    ),
    "v0.4 spelling": (
        action(type="spatial_skipping"), "sparse_optimizations", "expected one of gating, skipping",
    ),
    "quoted number": (
        attributes("SMEM", data_storage_depth="8192"), "architecture",
        "data_storage_depth: '8192' .* number without quotes",
    ),
    "bare technology": (
        lambda s: s["architecture"]["subtree"][0]["attributes"].update(technology=45),
        "architecture", 'expected a string in quotes with its unit, "45nm"',
    ),
    "unpriced": (
        lambda s: s["ERT"]["tables"].pop(1), "ERT", "but not SMEM",
    ),
}  # fmt: skip
ILLEGAL: dict[str, tuple[Change, str]] = {
    "data capacity": (attributes("SMEM", data_storage_depth=4), r"does not fit SMEM: .* of data"),
    "metadata capacity": (
        attributes("SMEM", metadata_storage_depth=2), r"does not fit SMEM: .* of metadata",
    ),
    "fanout after skipping": (
        lambda s: s["problem"]["instance"]["densities"]["A"].update(density=1.0), "RF",
    ),
}  # fmt: skip
TOLERATED = {"quoted number", "bare technology", "unpriced"}
"""What timeloop-model takes: to wrong energies (unpriced), or because only Accelergy minds."""
needs_timeloop = pytest.mark.skipif(
    not shutil.which("timeloop-model"), reason="timeloop-model is not on PATH"
)


def changed(change: Change, directory: Path) -> Spec:
    """The spec with a change, as a directory of section files."""
    sections = copy.deepcopy(CRISP.sections)
    change(sections)
    directory.mkdir()
    for name, section in sections.items():
        (directory / f"{name}.yaml").write_text(dump_yaml({name: section}))
    return load_spec(directory)


@pytest.mark.parametrize("name", REFUSED)
def test_the_message_names_file_and_field(name: str, tmp_path: Path) -> None:
    change, section, sentence = REFUSED[name]
    spec = changed(change, tmp_path / "spec")
    with pytest.raises(CrispLoopError, match=sentence) as caught:
        evaluate_specs([spec], engine="analytic")
    assert str(caught.value).startswith(f"{tmp_path}/spec/{section}.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ILLEGAL)
def test_what_does_not_fit_is_told_without_the_tool(name: str, tmp_path: Path) -> None:
    change, sentence = ILLEGAL[name]
    spec = changed(change, tmp_path / "spec")
    check_spec(spec)
    with pytest.raises(CrispLoopError, match=sentence) as caught:
        check_mapping(spec)
    assert f"{tmp_path}/spec/mapping.yaml" in str(caught.value)


@pytest.mark.timeloop
@needs_timeloop
@pytest.mark.parametrize("name", [n for n in (*REFUSED, *ILLEGAL) if n not in TOLERATED])
def test_timeloop_refuses_it_too(name: str, tmp_path: Path) -> None:
    change = (REFUSED | ILLEGAL)[name][0]
    spec = changed(change, tmp_path / "spec")
    with pytest.raises(CrispLoopError, match="rerun"):
        list(Timeloop(keep_dir=tmp_path / "kept").evaluate([spec], Quiet()))


def test_every_recorded_spec_passes() -> None:
    for file in sorted(RENDERED.glob("*.yaml")):
        spec = load_spec(file)
        check_spec(spec)
        check_mapping(spec)


def test_rounded_words_are_said() -> None:
    (dram, smem) = check_spec(CRISP)
    assert "5 bits (A) take 8 at DRAM" in dram
    assert "5 bits (A) take 6 at SMEM, the next divisor of its metadata_storage_width of 48" in smem


def test_a_mapping_that_only_the_tool_knows_is_left_to_it(tmp_path: Path) -> None:
    spec = changed(attributes("SMEM", cluster_size=2), tmp_path / "spec")
    check_spec(spec)
    check_mapping(spec)
