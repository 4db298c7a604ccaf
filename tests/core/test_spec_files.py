"""A spec's file, section by section: as a whole, and nobody's to share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import parse_yaml, read_text
from crisp_loop.core.safe_yaml import DEEPEST, LONGEST_TEXT, MOST_VALUES
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
        ("  architecture: 1\n" + REST, "is not valid YAML at line"),
        ("{architecture: 1}\n" + REST, "is not valid YAML at line"),
        ("architecture: &x 1\n" + REST + "ART: &x 1\n", "second occurrence"),
        ("architecture: 1\r...\n" + REST, "is not valid YAML at line"),
        ("architecture: 1\u2028---\n" + REST, "is not valid YAML at line"),
        ("architecture:1\n" + REST, "is not valid YAML at line"),
        ("- 1\n", "holds no sections"),
        ("", "holds no sections"),
    ],
)
def test_errors_are_those_of_the_whole(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(text.encode())
    with pytest.raises(CrispLoopError, match=sentence):
        load_spec(path)
    if "valid" in sentence or "occurrence" in sentence:
        with pytest.raises(CrispLoopError) as whole:
            parse_yaml(read_text(path), path)
        with pytest.raises(CrispLoopError, match=re.escape(str(whole.value))):
            load_spec(path)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        (f"[{'1,' * (MOST_VALUES // 2)}]", f"more than {MOST_VALUES} values"),
        (f"{'x' * (LONGEST_TEXT // 2)}", "is (longer|larger) than"),
    ],
)
def test_limits_are_those_of_the_whole(tmp_path: Path, section: str, sentence: str) -> None:
    """No section is too large by itself, but the file is."""
    path = tmp_path / "spec.yaml"
    path.write_text(f"architecture: {section}\nART: {section}\n{REST}")
    with pytest.raises(CrispLoopError, match=sentence):
        load_spec(path)


@pytest.mark.parametrize("depth", [DEEPEST - 1, DEEPEST])
def test_sections_nest_as_deep_as_in_the_whole(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "spec.yaml"
    # A level for the file, one for the innermost value.
    path.write_text(f"architecture: {'[' * (depth - 1)}1{']' * (depth - 1)}\n{REST}")
    if depth < DEEPEST:
        assert load_spec(path).sections == parse_yaml(path.read_text(), path)
        return
    with pytest.raises(CrispLoopError, match=f"nested deeper than {DEEPEST} levels"):
        load_spec(path)


def test_what_one_changes_another_does_not_see(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("architecture: {a: [1]}\n" + REST)
    load_spec(path).sections["architecture"]["a"].append(2)
    assert load_spec(path).sections["architecture"] == {"a": [1]}
