"""YAML as this project reads it: 1.2's scalars, plain data, and limits on how much of it.

A file may be hostile. So nesting and the number of values are counted while the text is parsed
(libyaml's own composer overflows the stack at some ten thousand brackets), and a part that aliases
repeat counts each time: what is read can be walked without care.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
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
_WORD = 40
"""Characters of a word whose tag is remembered."""


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

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """The tag of a node; that of a word is the same wherever it stands."""
        if kind is yaml.ScalarNode and implicit[0] and len(value) <= _WORD:
            return _tag(value)
        return super().resolve(kind, value, implicit)

    def construct_document(self, node: Any) -> Any:
        """Plain data at once; what is more than that, or wrong, by the library's own way."""
        try:
            return _plain(node, set())
        except _NotPlainError:
            return super().construct_document(node)


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


_SCALARS: dict[str, Callable[[str], object]] = {
    "tag:yaml.org,2002:null": lambda _: None,
    "tag:yaml.org,2002:bool": _bool,
    "tag:yaml.org,2002:int": _int,
    "tag:yaml.org,2002:float": _float,
    "tag:yaml.org,2002:str": str,
}
"""Tag to what makes the value of a text, or raises ValueError: a text may claim to be of any kind
(``!!int x``)."""


@lru_cache(maxsize=4096)
def _tag(word: str) -> str:
    """The tag of an unquoted word."""
    resolvers = Loader.yaml_implicit_resolvers
    for tag, pattern in [*resolvers.get(word[:1], []), *resolvers.get(None, [])]:
        if pattern.match(word):
            return tag
    return "tag:yaml.org,2002:str"


class _NotPlainError(Exception):
    """YAML with shared parts, merge keys, other tags, keys that are not text, or errors."""


def _plain(node: Any, seen: set[int]) -> Any:
    """The data of a node; ``seen`` holds the collections around it and before it.

    The composer has bounded the depth. This takes a third of the time of PyYAML's constructors,
    which can also fill in what aliases share.
    """
    if node.id == "scalar":
        try:
            return _SCALARS[node.tag](node.value)
        except (KeyError, ValueError):
            raise _NotPlainError from None
    if id(node) in seen:
        raise _NotPlainError
    seen.add(id(node))
    kind = node.id, node.tag
    if kind == ("sequence", "tag:yaml.org,2002:seq"):
        return [_plain(each, seen) for each in node.value]
    if kind != ("mapping", "tag:yaml.org,2002:map"):
        raise _NotPlainError
    data: dict[str, Any] = {}
    for key, value in node.value:
        if key.id != "scalar" or key.tag != "tag:yaml.org,2002:str" or key.value in data:
            raise _NotPlainError
        data[key.value] = _plain(value, seen)
    return data


def _construct_scalar(loader: Any, node: yaml.ScalarNode) -> object:
    text = loader.construct_scalar(node)
    try:
        return _SCALARS[node.tag](text)
    except ValueError as error:
        raise ConstructorError(None, None, str(error)[:100], node.start_mark) from None


def _construct_mapping(loader: Any, node: Any, deep: bool = False) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):  # a list or a text that claims to be one
        problem = f"expected a mapping, but found a {node.id}"
        raise ConstructorError(None, None, problem, node.start_mark)
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


def _construct_yaml_map(loader: Any, node: Any) -> Iterator[dict[Any, Any]]:
    data: dict[Any, Any] = {}
    yield data
    data.update(_construct_mapping(loader, node))


# Plain data alone: PyYAML's safe loader also makes dates, bytes and sets.
Loader.yaml_constructors = {
    **dict.fromkeys(_SCALARS, _construct_scalar),
    "tag:yaml.org,2002:seq": SafeConstructor.construct_yaml_seq,
    "tag:yaml.org,2002:map": _construct_yaml_map,
    None: SafeConstructor.construct_undefined,
}
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
