"""Plain data as hostile YAML and JSON: what :mod:`json` and PyYAML would never write."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from random import Random
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Raw:
    """Text that is written as it is, wherever a value may stand."""

    text: str

    def __repr__(self) -> str:
        return f"Raw({self.text[:40]!r})"


@dataclass
class Pairs:
    """A mapping that may hold a key twice."""

    items: list[tuple[Any, Any]]


def as_yaml(tree: Any) -> str:
    """YAML text: the outermost entries in blocks, everything below them in flow style."""
    if isinstance(tree, dict | Pairs):
        lines = [f"{_key(key)}: {_flow(value, yaml=True)}" for key, value in _items(tree)]
    elif isinstance(tree, list):
        lines = [f"- {_flow(value, yaml=True)}" for value in tree]
    else:
        lines = [_flow(tree, yaml=True)]
    return "\n".join(lines) + "\n"


def as_json(tree: Any) -> str:
    """JSON text, with ``NaN`` and ``Infinity`` as Python writes them."""
    return _flow(tree, yaml=False)


def _items(tree: dict[Any, Any] | Pairs) -> list[tuple[Any, Any]]:
    return tree.items if isinstance(tree, Pairs) else list(tree.items())


def _key(key: Any) -> str:
    return key if isinstance(key, str) and _PLAIN.fullmatch(key) else _flow(key, yaml=True)


def _flow(tree: Any, yaml: bool) -> str:
    if isinstance(tree, Raw):
        return tree.text
    if isinstance(tree, dict | Pairs):
        parts = (f"{_flow(key, yaml)}: {_flow(value, yaml)}" for key, value in _items(tree))
        return "{" + ", ".join(parts) + "}"
    if isinstance(tree, list | tuple):
        return "[" + ", ".join(_flow(each, yaml) for each in tree) + "]"
    if isinstance(tree, float) and yaml and not math.isfinite(tree):
        return ".nan" if tree != tree else "-.inf" if tree < 0 else ".inf"
    return json.dumps(tree)


def _nested(depth: int) -> Raw:
    return Raw("[" * depth + "]" * depth)


def _aliases(levels: int, wide: int, merge: bool = False) -> Raw:
    """The billion laughs: each level holds the one before it ``wide`` times."""
    levels_text = ["&a0 {k: v}" if merge else "&a0 [x]"]
    for level in range(1, levels):
        again = ", ".join([f"*a{level - 1}"] * wide)
        levels_text.append(f"&a{level} " + (f"{{<<: [{again}]}}" if merge else f"[{again}]"))
    return Raw("[" + ", ".join(levels_text) + "]")


TEXTS = (
    "", " ", "x", "a\nb", "a\r\n\tb", "\x00", "a\x00b", "\x1b[31mred\x1b]0;owned\x07", "\x7f\x85",
    "\ud800", "\udfff", "é\u0301", "\u202eevil", "\ufeff", "\U0001f4a5", "²", "１２",
    "../../escaped", "../" * 40 + "etc/passwd", "/etc/passwd", "..", ".", "/", "~", "C:\\x",
    "..\\..\\escaped", "\\\\host\\share", "con", "nul.yaml", "a/b/c", "-rf", "$(touch owned)",
    "; touch owned", "`touch owned`", "y" * 300, "y" * 5000, "y" * 200_000,
    "{{ 7 * 7 }}", "{% for x in y %}", "{{ cycler.__init__.__globals__ }}", "{# x",
    "</script><script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "[/b]", "[b]",
    "[link=x]", "$\\frac{$", "\\input{/etc/passwd}", "=cmd()", "+1", "@x", "%s%n", "%(x)s",
    "2:4", "0:4", "5:4", "9999:9999", "1e999", "NaN", "1_000", "0x10", "true", "null", "*", "&a",
    "!!python/object/apply:os.system [x]", "K4", "DRAM temporal R4 order NRKMQ", "folder:/",
    "cifar10:" + "y" * 300, "y" * 300 + ".yaml", "../arch.yaml",
)  # fmt: skip
"""Strings that have broken readers of some kind."""

NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 64, 255, 65_537, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**62, 2**63 - 1, 2**63,
    2**64, -(2**63), 10**30, 0.0, -0.0, 0.5, 1.5, 1e-320, 1e308, math.nan, math.inf, -math.inf,
    Raw("1" * 4000), Raw("1" * 5000), Raw("1e999"), Raw("-1e400"), Raw("1e-400"),
    Raw("0x7f"), Raw("1_0"), Raw("0o17"),
)  # fmt: skip

SHAPES: tuple[Any, ...] = (
    None, True, False, [], {}, [[]], [{}], {"a": 1}, [None], [0], [1, 2, 3], ["x"] * 2000,
    [[0] * 3] * 3, {"x": {"x": {"x": {}}}}, {str(i): i for i in range(2000)},
    _nested(20), _nested(90), _nested(150), _nested(900), _nested(5000), _nested(200_000),
    Raw("{a: " * 3000 + "1" + "}" * 3000), Raw("[" * 3000), Raw('{"a":' * 3000 + "1" + "}" * 3000),
    _aliases(4, 4), _aliases(10, 10), _aliases(40, 2), _aliases(8, 10, merge=True),
    Raw("&self [*self]"), Raw("&self {a: *self}"), Raw("&self {<<: *self}"), Raw("*nothing"),
    Raw("!!python/object/apply:os.system [touch owned]"), Raw("!!binary aGk="), Raw("!!set {a}"),
    Raw("!!timestamp 2001-01-01"), Raw("!local x"), Raw("{? [a] : b}"), Raw("{? {a: b} : c}"),
    Raw("{a: 1, a: 2}"), Raw("2001-01-01"), Raw("no"), Raw("1:30"), Raw("|"), Raw("---"),
    Raw("..."),
    Raw("%YAML 9.9"), Raw("'"), Raw('"'), Raw("\t"), Raw(""), Raw(","), Raw("]"), Raw("# x"),
)  # fmt: skip


def hostile(rng: Random) -> Any:
    """A value that no reader asked for."""
    return rng.choice(rng.choice((TEXTS, NUMBERS, NUMBERS, SHAPES)))


def mutated(tree: Any, rng: Random) -> Any:
    """A copy of ``tree`` with one to three places changed."""
    tree = _thawed(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = _places(tree)
        if not places:
            return hostile(rng)
        tree = _changed(tree, places, rng)
    return tree


def _thawed(tree: Any) -> Any:
    """``tree`` with mappings as :class:`Pairs`, all of it a copy."""
    if isinstance(tree, dict | Pairs):
        return Pairs([(key, _thawed(value)) for key, value in _items(tree)])
    return [_thawed(each) for each in tree] if isinstance(tree, list | tuple) else tree


def _places(tree: Any) -> list[tuple[list[Any], int]]:
    """Every (list, index) at which a value stands; of a mapping, in its list of pairs."""
    found: list[tuple[list[Any], int]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        inner = node.items if isinstance(node, Pairs) else node if isinstance(node, list) else []
        for index, each in enumerate(inner):
            found.append((inner, index))
            waiting.append(each[1] if isinstance(each, tuple) else each)
    return found


def _changed(tree: Any, places: list[tuple[list[Any], int]], rng: Random) -> Any:
    inner, index = rng.choice(places)
    here = inner[index]
    key, value = here if isinstance(here, tuple) else (None, here)

    def put(new: Any) -> None:
        inner[index] = (key, new) if isinstance(here, tuple) else new

    def away() -> None:
        del inner[index]

    def twice() -> None:
        inner.insert(index, _thawed(here) if not isinstance(here, tuple) else here)

    def elsewhere() -> None:
        other, at = rng.choice(places)
        its = other[at]
        put(_thawed(its[1] if isinstance(its, tuple) else its))

    def number() -> None:
        put(rng.choice((value + 1, -value, value * 10**6, float(value), str(value), value / 2))
            if isinstance(value, int | float) else hostile(rng))  # fmt: skip

    def renamed() -> None:
        if isinstance(here, tuple):
            inner[index] = (rng.choice((*TEXTS, 1, None, True, Raw("[a]"), Raw("<<"))), value)
        else:
            put({"x": value})

    def more() -> None:
        inner.insert(index, ("x" if rng.random() < 0.5 else rng.choice(TEXTS), hostile(rng))
                     if isinstance(here, tuple) else hostile(rng))  # fmt: skip

    def many() -> None:
        if isinstance(value, list) and value:
            put(value * rng.choice((2, 300)))
        else:
            put([value] * 3)

    def numeric() -> None:
        put(rng.choice(NUMBERS))

    def textual() -> None:
        put(value + rng.choice(TEXTS) if isinstance(value, str) else rng.choice(TEXTS))

    def whole() -> None:
        nonlocal tree
        tree = hostile(rng) if rng.random() < 0.2 else [tree]

    common = (lambda: put(hostile(rng)), away, number, textual, numeric)
    # A file that is refused as a whole tests nothing behind that.
    rng.choice((*common, *common, number, numeric, elsewhere, twice, renamed, more, many, whole))()
    return tree
