"""YAML as this project reads it: 1.2's scalars, plain data, and limits on how much of it.

A file may be hostile. So nesting and the number of values are counted while the text is parsed
(libyaml's own composer overflows the stack at some ten thousand brackets), and a part that aliases
repeat counts each time: what is read can be walked without care.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from yaml.composer import Composer, ComposerError
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.events import AliasEvent

DEEPEST = 100
"""Lists and mappings inside each other."""
MOST_VALUES = 1_000_000
"""Values in a file, aliases counted as what they stand for."""
LONGEST_TEXT = 32 * 2**20
"""Characters of a file."""
WIDEST_INT = 64
"""Bits of a whole number, its sign included."""


class _BoundedComposer(Composer):
    """Builds the nodes of a text, and stops where there is too much of it."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._values = 0
        self._sizes: dict[str, int] = {}
        """Anchor to the values below it, itself included."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[attr-defined]
        before = self._values
        if isinstance(event, AliasEvent) and event.anchor in self.anchors:
            if event.anchor not in self._sizes:
                problem = "an alias of itself"
                raise ComposerError(None, None, problem, event.start_mark)
            self._count(self._sizes[event.anchor], event)
            return super().compose_node(parent, index)
        self._count(1, event)
        self._depth += 1
        if self._depth > DEEPEST:
            problem = f"nested deeper than {DEEPEST} levels"
            raise ComposerError(None, None, problem, event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._values - before
        return node

    def _count(self, values: int, event: Any) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            problem = f"more than {MOST_VALUES} values, aliases counted as what they stand for"
            raise ComposerError(None, None, problem, event.start_mark)


_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Loader(_BoundedComposer, _Parser):
    """Safe YAML loader in the manner of YAML 1.2.

    YAML 1.1 reads ``2:4`` as the base-60 integer 124 and ``no`` as False; both are
    traps in files that hold N:M patterns and names. Duplicate keys are refused.
    """

    def __init__(self, stream: str) -> None:
        _Parser.__init__(self, stream)
        _BoundedComposer.__init__(self)


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def _int(text: str) -> int:
    # Python refuses numbers of thousands of digits, and numpy those beyond 64 bits.
    value = int(text) if len(text) <= 40 else 1 << WIDEST_INT
    if not -(1 << WIDEST_INT - 1) <= value < 1 << WIDEST_INT - 1:
        raise ValueError(f"a whole number beyond {WIDEST_INT} bits")
    return value


def _float(text: str) -> float:
    return float(re.sub(r"^([-+]?)\.(?=[ni])", r"\1", text.lower()))


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("expected true or false")
    return text.lower() == "true"


def _scalar(kind: Callable[[str], object]) -> Callable[[Any, yaml.ScalarNode], object]:
    """A constructor of plain values; a text may claim to be of any kind (``!!int x``)."""

    def construct(loader: Any, node: yaml.ScalarNode) -> object:
        text = loader.construct_scalar(node)
        try:
            return kind(text)
        except ValueError as error:
            raise ConstructorError(None, None, str(error)[:100], node.start_mark) from None

    return construct


def _construct_mapping(loader: Any, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        try:
            fresh = key not in seen
        except TypeError:
            problem = "keys must be plain values"
            raise ConstructorError(None, None, problem, key_node.start_mark) from None
        if not fresh:
            problem = f"duplicate key {key!r}"
            raise ConstructorError(None, None, problem, key_node.start_mark)
        seen.add(key)
    # What is merged comes first, so a mapping's own keys have the last word.
    return SafeConstructor.construct_mapping(loader, node, deep=deep)


def _construct_yaml_map(loader: Any, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
    data: dict[Any, Any] = {}
    yield data
    data.update(_construct_mapping(loader, node))


# Plain data alone: PyYAML's safe loader also makes dates, bytes and sets.
Loader.yaml_constructors = {
    f"tag:yaml.org,2002:{kind}": construct
    for kind, construct in {
        "null": SafeConstructor.construct_yaml_null,
        "bool": _scalar(_bool),
        "int": _scalar(_int),
        "float": _scalar(_float),
        "str": SafeConstructor.construct_yaml_str,
        "seq": SafeConstructor.construct_yaml_seq,
        "map": _construct_yaml_map,
    }.items()
} | {None: SafeConstructor.construct_undefined}
Loader.yaml_multi_constructors = {}


class Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or our reader would take for a number or a boolean."""


Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeLoader.yaml_implicit_resolvers.get(first, []),
        *Loader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*yaml.SafeLoader.yaml_implicit_resolvers, *Loader.yaml_implicit_resolvers}
}
