"""Reading and writing files: safe YAML, typed JSON, atomic writes, hashes."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from crisp_loop.core.errors import CrispLoopError, InputError

T = TypeVar("T")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML loader in the manner of YAML 1.2.

    YAML 1.1 reads ``2:4`` as the base-60 integer 124 and ``no`` as False; both are
    traps in files that hold N:M patterns and names. Duplicate keys are refused.
    """

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """The tag of a node; that of a word is the same wherever it stands."""
        if kind is yaml.ScalarNode and implicit[0]:
            return _tag(value)
        return super().resolve(kind, value, implicit)

    def construct_document(self, node: Any) -> Any:
        """Plain data at once; what is more than that, or wrong, by the library's own way."""
        try:
            return _plain(node, set())
        except _NotPlainError:
            return super().construct_document(node)


class _NotPlainError(Exception):
    """YAML with aliases, merge keys, tags, keys that are not text, or errors."""


_PLAIN: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:str": str,
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": float,
    "tag:yaml.org,2002:bool": lambda value: value.lower() == "true",
    "tag:yaml.org,2002:null": lambda _: None,
}


def _plain(node: Any, seen: set[int]) -> Any:
    """The data of a node; ``seen`` holds the collections around it and before it."""
    if node.id == "scalar":
        try:
            return _PLAIN[node.tag](node.value)
        except (KeyError, ValueError):  # a tag of its own; .inf and .nan
            raise _NotPlainError from None
    if id(node) in seen:
        raise _NotPlainError
    seen.add(id(node))
    if node.tag == "tag:yaml.org,2002:seq":
        return [_plain(each, seen) for each in node.value]
    if node.tag != "tag:yaml.org,2002:map":
        raise _NotPlainError
    data: dict[str, Any] = {}
    for key, value in node.value:
        if key.tag != "tag:yaml.org,2002:str" or key.value in data:
            raise _NotPlainError
        data[key.value] = _plain(value, seen)
    return data


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def _construct_mapping(loader: Any, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        try:
            fresh = key not in seen
        except TypeError:
            raise yaml.constructor.ConstructorError(
                None, None, "keys must be plain values", key_node.start_mark
            ) from None
        if not fresh:
            raise yaml.constructor.ConstructorError(
                None, None, f"duplicate key {key!r}", key_node.start_mark
            )
        seen.add(key)
    return yaml.constructor.SafeConstructor.construct_mapping(loader, node, deep=deep)


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


def _construct_yaml_map(loader: Any, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
    data: dict[Any, Any] = {}
    yield data
    data.update(_construct_mapping(loader, node))


@lru_cache(maxsize=4096)
def _tag(word: str) -> str:
    """The tag of an unquoted word."""
    resolvers = _Loader.yaml_implicit_resolvers
    for tag, pattern in [*resolvers.get(word[:1], []), *resolvers.get(None, [])]:
        if pattern.match(word):
            return tag
    return "tag:yaml.org,2002:str"


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_yaml_map)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or our reader would take for a number or a boolean."""


_Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeLoader.yaml_implicit_resolvers.get(first, []),
        *_Loader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*yaml.SafeLoader.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


def read_text(path: Path, what: str = "file") -> str:
    """Text of ``path``; one sentence when it is missing, a directory, or not UTF-8."""
    if not path.exists():
        raise CrispLoopError(f"{path}: no such {what}.")
    if path.is_dir():
        raise CrispLoopError(f"{path} is a directory; expected {_a(what)}.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CrispLoopError(f"{path} is not UTF-8 text; expected {_a(what)}.") from None
    except OSError as error:
        raise CrispLoopError(f"{path} cannot be read: {error.strerror or error}.") from None


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def parse_yaml(text: str, where: Path | str) -> Any:
    """Parse YAML text (YAML 1.2 scalars, no duplicate keys, safe types only)."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context or "unreadable"
        raise CrispLoopError(f"{where} is not valid YAML{line}: {problem}.") from None
    except (yaml.YAMLError, RecursionError) as error:
        first_line = str(error).splitlines()[0] if str(error) else "nested too deeply"
        raise CrispLoopError(f"{where} is not valid YAML: {first_line}.") from None


def read_yaml(path: Path, what: str = "YAML file") -> Any:
    """Parse the YAML file ``path``."""
    return parse_yaml(read_text(path, what), path)


def dump_yaml(data: Any) -> str:
    """YAML text of plain data, keys in the given order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120, default_flow_style=None)


def _one_sentence(error: ValidationError, as_type: Any, where: Path | str) -> InputError:
    """The first problem that pydantic found, naming field, value and what would be right."""
    problem = error.errors(include_url=False)[0]
    location = problem["loc"]
    field = ".".join(str(part) for part in location)
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = ", ".join(_known_keys(TypeAdapter(as_type).json_schema(), location[:-1]))
        expected = f"it is unknown here; the known keys: {known}"
        return InputError(where, field, location[-1], expected)
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    return InputError(where, field, problem.get("input"), message[:1].lower() + message[1:])


def _known_keys(schema: dict[str, Any], location: tuple[int | str, ...]) -> list[str]:
    """Property names at a place in a JSON schema; empty where the schema does not tell."""
    node: dict[str, Any] = schema

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        while True:
            if "$ref" in node:
                node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
            elif options := [n for n in node.get("anyOf", []) if n.get("type") != "null"]:
                node = options[0]
            else:
                return node

    for part in location:
        node = resolved(node)
        inner = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        inner = inner or node.get("additionalProperties")
        if not isinstance(inner, dict):
            return []
        node = inner
    return list(resolved(node).get("properties", {}))


def validated(data: Any, as_type: type[T], where: Path | str) -> T:
    """``data`` as ``as_type`` (a dataclass or pydantic model), or one sentence."""
    try:
        return TypeAdapter(as_type).validate_python(data)
    except ValidationError as error:
        raise _one_sentence(error, as_type, where) from None


def read_json(path: Path, as_type: type[T], what: str = "JSON file") -> T:
    """The JSON file ``path`` validated as ``as_type``."""
    text = read_text(path, what)
    try:
        return TypeAdapter(as_type).validate_json(text)
    except ValidationError as error:
        raise _one_sentence(error, as_type, path) from None


def write_json(path: Path, data: Any) -> None:
    """Write a dataclass or pydantic model as indented JSON, atomically."""
    write_text(path, TypeAdapter(type(data)).dump_json(data, indent=1).decode() + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that replaces it when the block succeeds.

    A reader sees the old file or the whole new one, never a half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; results are as readable as the user's umask says.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CrispLoopError(f"{path} cannot be written: {error.strerror or error}.") from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(data: str | bytes) -> str:
    """Hex SHA-256 of text or bytes."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
