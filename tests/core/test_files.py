"""Files: YAML 1.2 scalars, one-sentence refusals, atomic writes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import (
    dump_yaml,
    parse_yaml,
    replacing,
    validated,
    write_text,
)
from crisp_loop.core.safe_yaml import Loader


def test_patterns_and_names_stay_text() -> None:
    data = parse_yaml("nm: 2:4\nname: no\nwhen: 2026-11-21\noct: 010\nx: 1e3\ny: 1.5\nz: ~", "f")
    assert data == {
        "nm": "2:4", "name": "no", "when": "2026-11-21", "oct": 10, "x": 1e3, "y": 1.5, "z": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\na: 2", r"f is not valid YAML at line 2, column 1: duplicate key 'a'\."),
        ("a: [1", r"f is not valid YAML at line \d, column \d"),
        ("{[1]: 2}", r"f is not valid YAML at line 1, column 2"),
        ("a: !!python/object:os.system x", r"f is not valid YAML at line 1"),
        ("[" * 5000, r"f is not valid YAML"),
    ],
)
def test_bad_yaml_ends_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(CrispLoopError, match=sentence) as caught:
        parse_yaml(text, "f")
    assert "\n" not in str(caught.value)


def test_dumped_yaml_reads_back() -> None:
    data = {"nm": "2:4", "no": "no", "n": 1, "list": [1, {"a": "1e3"}]}
    assert parse_yaml(dump_yaml(data), "f") == data


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = 1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"oops": 1}, r"f: oops: 'oops' cannot be used; .* known keys: inner, many"),
        ({"inner": {"dept": 1}}, r"f: inner.dept: 'dept' .* known keys: depth\."),
        ({"many": [{}, {"dept": 1}]}, r"f: many.1.dept: .* known keys: depth\."),
        ({"inner": {"depth": "x"}}, r"f: inner.depth: 'x' cannot be used; .*integer"),
    ],
)
def test_problems_are_told_with_their_path(data: dict, sentence: str) -> None:
    with pytest.raises(CrispLoopError, match=sentence):
        validated(data, Outer, "f")


class Thorough(Loader):
    """Constructs everything the library's own way."""

    construct_document = yaml.constructor.SafeConstructor.construct_document


WORDS = st.sampled_from(
    [
        "2:4",
        "no",
        "1",
        "010",
        "+1",
        "-1.5",
        ".5",
        "1.",
        "1e3",
        ".inf",
        "~",
        "",
        "true",
        "False",
        "a b",
    ]
)
PLAIN = st.recursive(
    WORDS
    | st.text("ab-: #'\"\n&*!", max_size=6)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.booleans()
    | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_data_is_built_as_the_library_builds_it(data: Any) -> None:
    text = dump_yaml(data)
    assert repr(parse_yaml(text, "f")) == repr(yaml.load(text, Loader=Thorough))


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {b: 1}\nc: *x",
        "a: &x {b: 1}\nc: {<<: *x, d: 2}",
        "2: a\ntrue: b\n2.5: c",
        "x: !!str 1",
        "? a\n: b",
        "- .inf\n- -.INF\n- 1_000\n- 0x10",
        "",
        "a:\n  - b\n  -\n  - {}\n",
        "a: |\n  text\n\nb: >-\n  folded\n  text\n",
        "!!int '5'",
        "!!float 1_000",
        "- &x 1\n- *x",
    ],
)
def test_more_than_plain_data_is_built_alike(text: str) -> None:
    assert repr(parse_yaml(text, "f")) == repr(yaml.load(text, Loader=Thorough))


@pytest.mark.parametrize(
    "text",
    [
        "!!seq {a: b}",
        "!!map [a]",
        "!!map a",
        "!!seq a",
        "!!str [a]",
        "!!str {a: b}",
        "!!int x",
        "!!int 0x10",
        "!!bool x",
        "!!float x",
        "!!timestamp 2001-01-01",
        "!!binary aGVsbG8=",
        "!!set {a, b}",
        "!!python/name:os.system x",
        "? [a]\n: b",
        "? !!str [a]\n: b",
        "a: 1\nb: 2\na: 3",
        "a: <<",
        f"a: {2**63}",
        f"a: {'9' * 50}",
        "&x [*x]",
    ],
)
def test_what_the_library_refuses_is_refused(text: str) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as thorough:
        yaml.load(text, Loader=Thorough)
    with pytest.raises(CrispLoopError) as refused:
        parse_yaml(text, "f")
    mark = thorough.value.problem_mark or thorough.value.context_mark
    assert mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: {thorough.value.problem}."
    assert str(refused.value) == f"f is not valid YAML at {place}"
