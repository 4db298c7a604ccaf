"""Reading and writing files: safe YAML, typed JSON, atomic writes, hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.safe_yaml import LONGEST_TEXT, Dumper, Loader

T = TypeVar("T")

TEXT_LIMIT = 256 * 2**20
"""Characters of a text file; the evaluations of a large network have some ten million."""

MOST_MISTAKES = 1000
"""Mistakes in a file that are told apart; pydantic lists them all."""


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file, also where no file can be called so: pathlib raises there."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a directory that may not be entered
        return False


def is_directory(path: Path) -> bool:
    """Whether ``path`` is a directory; see :func:`is_file`."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_text(path: Path, what: str = "file", limit: int = TEXT_LIMIT) -> str:
    """Text of ``path``, at most ``limit`` characters.

    Raises:
        CrispLoopError: it is missing, a directory, larger, or not UTF-8.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise CrispLoopError(f"{path}: no such {what}.") from None
    except IsADirectoryError:
        raise CrispLoopError(f"{path} is a directory; expected {_a(what)}.") from None
    except UnicodeDecodeError:
        raise CrispLoopError(f"{path} is not UTF-8 text; expected {_a(what)}.") from None
    except ValueError:  # a NUL, or half of a character
        raise CrispLoopError(f"{path}: no {what} can be called so.") from None
    except OSError as error:
        raise CrispLoopError(f"{path} cannot be read: {error.strerror or error}.") from None
    if len(text) > limit:
        raise CrispLoopError(f"{path} is larger than the {limit >> 20} MiB of any {what}.")
    return text


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def parse_yaml(text: str, where: Path | str) -> Any:
    """Parse YAML text: YAML 1.2 scalars, no duplicate keys, plain data within limits.

    See :mod:`crisp_loop.core.safe_yaml`.
    """
    if len(text) > LONGEST_TEXT:
        raise CrispLoopError(f"{where} is longer than the {LONGEST_TEXT >> 20} MiB of any YAML.")
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context or "unreadable"
        raise CrispLoopError(f"{where} is not valid YAML{line}: {problem}.") from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        first_line = (str(error).splitlines() or ["unreadable"])[0]
        raise CrispLoopError(f"{where} is not valid YAML: {first_line}.") from None


def read_yaml(path: Path, what: str = "YAML file") -> Any:
    """Parse the YAML file ``path``."""
    return parse_yaml(read_text(path, what, LONGEST_TEXT), path)


def dump_yaml(data: Any) -> str:
    """YAML text of plain data, keys in the given order."""
    return yaml.dump(data, Dumper=Dumper, sort_keys=False, width=120, default_flow_style=None)


def input_error(error: ValidationError, as_type: Any, where: Path | str) -> InputError:
    """The first problem that pydantic found, naming field, value and what would be right."""
    if (mistakes := error.error_count()) > MOST_MISTAKES:
        return InputError(where, "", f"{mistakes} values", "it is no file of this kind")
    problem = error.errors(include_url=False, include_context=False)[0]
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
        raise input_error(error, as_type, where) from None


def read_json(path: Path, as_type: type[T], what: str = "JSON file") -> T:
    """The JSON file ``path`` validated as ``as_type``."""
    text = read_text(path, what)
    try:
        return TypeAdapter(as_type).validate_json(text)
    except ValidationError as error:
        raise input_error(error, as_type, path) from None


def write_json(path: Path, data: Any) -> None:
    """Write a dataclass or pydantic model as indented JSON, atomically."""
    write_text(path, TypeAdapter(type(data)).dump_json(data, indent=1).decode() + "\n")


@contextmanager
def replacing(path: Path, within: Path | None = None) -> Iterator[Path]:
    """A temporary name that replaces ``path`` when the block succeeds.

    A reader sees the old file or the whole new one, never a half.

    Args:
        path: The file to be.
        within: A directory of the same file system for the temporary file, which a process that
            is killed leaves behind; beside ``path`` unless given.
    """
    place = within or path.parent
    try:
        for folder in (path.parent, place):
            folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=place)
        os.close(handle)
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL
        reason = getattr(error, "strerror", None) or error
        raise CrispLoopError(f"{path} cannot be written: {reason}.") from None
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


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """A temporary directory beside ``path`` that replaces it as a whole when the block succeeds.

    What stood there goes with it; of a link, the link alone.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise CrispLoopError(f"{path} cannot be written: {error.strerror or error}.") from None
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except OSError as error:
        raise CrispLoopError(f"{path} cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_hash(path: Path, what: str = "file") -> str:
    """Hex SHA-256 of a file.

    Raises:
        CrispLoopError: it is missing, a directory, or not to be read.
    """
    if not is_file(path):
        state = "is a directory" if is_directory(path) else "does not exist"
        raise CrispLoopError(f"{path} {state}; expected {_a(what)}.")
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise CrispLoopError(f"{path} cannot be read: {error.strerror or error}.") from None
    return digest.hexdigest()


def sha256(data: str | bytes) -> str:
    """Hex SHA-256 of text or bytes."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
