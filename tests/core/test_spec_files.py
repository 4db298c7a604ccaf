"""A spec's file, section by section: as a whole, and nobody's to share."""

from __future__ import annotations

from pathlib import Path

import pytest

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import parse_yaml
from crisp_loop.core.spec import load_spec

REST = "problem: {a: 1}\nmapping:\n- b\n- c\nERT: ~\n"


@pytest.mark.parametrize(
    "text",
    [
        "architecture: 1\n" + REST,
        "# first\n\narchitecture: 1 # here\n# between\n" + REST + "# last",
        "---\narchitecture: 1\n" + REST,
        "architecture: |\n  text\n\n" + REST + "ART: |+\n  kept\n\n",
        "architecture: |\n  text\n" + REST + "ART: |\n  without an end",
        "architecture: &x {a: 1}\n" + REST + "ART: *x\n",
        "architecture: {a: 1,\nb: 2}\n" + REST,
        'architecture: "a\nproblem: b"\n' + REST,
        '"architecture": 1\n' + REST,
        "architecture:\n  ERT: 1\n" + REST,
    ],
)
def test_sections_are_those_of_the_whole(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    for _ in range(2):
        assert load_spec(path).sections == parse_yaml(text, path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("architecture: 1\n" + REST + "ERT: 2\n", "line 7, column 1: duplicate key 'ERT'"),
        ("architecture: 1\n" + REST + "...\nART: 2\n", "is not valid YAML at line"),
        ("architecture: 1\n" + REST + "ART: [1\n", "is not valid YAML at line"),
        ("architecture: 1\n" + REST + "others: 1\n", "unknown section 'others'"),
        ("- 1\n", "holds no sections"),
        ("", "holds no sections"),
    ],
)
def test_errors_are_those_of_the_whole(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(CrispLoopError, match=sentence):
        load_spec(path)


def test_what_one_changes_another_does_not_see(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("architecture: {a: [1]}\n" + REST)
    load_spec(path).sections["architecture"]["a"].append(2)
    assert load_spec(path).sections["architecture"] == {"a": [1]}
