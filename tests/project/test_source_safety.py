"""No source runs text as code or as a shell command, or reads files by unsafe means."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file
    for folder in (
        "crisp_loop",
        "benchmarks",
        "docker",
        "examples",
        "templates",
        "arch",
        "mappings",
    )
    for file in (ROOT / folder).rglob("*.py")
)
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execl", "os.execv",
    "os.execvp", "os.spawnl", "os.spawnv", "subprocess.getoutput", "subprocess.getstatusoutput",
    "commands.getoutput", "pickle.load", "pickle.loads", "marshal.load", "marshal.loads",
    "shelve.open", "joblib.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all",
    "yaml.unsafe_load_all", "jinja2.Template", "numpy.load", "np.load", "pandas.read_pickle",
    "pd.read_pickle", "tempfile.mktemp", "xml.etree.ElementTree.parse",
}  # fmt: skip
SAFE_LOADERS = ("Loader",)
"""The project's own, in core/safe_yaml.py, which is checked below to be a safe one."""


def mistakes(text: str) -> list[str]:
    """What a source does that it may not, as ``line: call``."""
    tree = ast.parse(text)
    names = _imported(tree)
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = _full_name(call.func, names)
        found += [f"{call.lineno}: {problem}" for problem in _wrong_with(call, name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = [_full_name(base, names) for base in node.bases]
            methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
            if "pickle.Unpickler" in bases and "find_class" not in methods:
                found.append(f"{node.lineno}: an Unpickler that finds any class")
    return found


def _wrong_with(call: ast.Call, name: str) -> Iterator[str]:
    given = {each.arg: each.value for each in call.keywords}

    def constant(key: str) -> object:
        value = given.get(key)
        return value.value if isinstance(value, ast.Constant) else None

    if name in FORBIDDEN:
        yield name
    if "shell" in given and constant("shell") is not False:
        yield f"{name} with shell"
    if name in ("pickle.Unpickler", "_pickle.Unpickler"):
        yield "an Unpickler that finds any class"
    if name == "yaml.load":
        loader = given.get("Loader") or (call.args[1] if len(call.args) > 1 else None)
        if not isinstance(loader, ast.Name) or loader.id not in SAFE_LOADERS:
            yield "yaml.load with another loader than the project's"
    if name == "torch.load" and constant("weights_only") is not True:
        yield "torch.load without weights_only=True"
    if name in ("jinja2.Environment", "jinja2.sandbox.SandboxedEnvironment"):
        undefined = given.get("undefined")
        if not isinstance(undefined, ast.Name) or undefined.id != "StrictUndefined":
            yield "a Jinja environment without StrictUndefined"
        if "autoescape" not in given:
            yield "a Jinja environment that does not say whether it escapes"
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("from_string", "extractall"):
        yield f".{call.func.attr}()"


def _imported(tree: ast.AST) -> dict[str, str]:
    """Local name to the full name of what was imported."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                names[each.asname or each.name.split(".")[0]] = (
                    each.name if each.asname else each.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return names


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_full_name(node.value, names)}.{node.attr}"
    return ""


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_source_does_nothing_unsafe(file: Path) -> None:
    assert mistakes(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import subprocess as s\ns.run('x', shell=True)",
        "from subprocess import Popen\nPopen(c, shell=flag)",
        "import os\nos.system('x')",
        "from os import popen as p\np('x')",
        "eval('1')",
        "import yaml\nyaml.load(t)",
        "import yaml\nyaml.load(t, Loader=yaml.Loader)",
        "from yaml import load, FullLoader\nload(t, FullLoader)",
        "import pickle\npickle.loads(b)",
        "import pickle\npickle.Unpickler(f).load()",
        "import pickle\nclass R(pickle.Unpickler):\n    pass",
        "import torch\ntorch.load(p)",
        "import torch\ntorch.load(p, weights_only=False)",
        "from torch import load\nload(p, weights_only=w)",
        "from jinja2 import Environment\nEnvironment(autoescape=True)",
        "from jinja2 import Environment, StrictUndefined\nEnvironment(undefined=StrictUndefined)",
        "import jinja2\njinja2.Template(t)",
        "environment.from_string(t)",
        "archive.extractall()",
        "import numpy as np\nimport pandas as pd\npd.read_pickle(p)",
    ],
)
def test_what_is_unsafe_is_found(text: str) -> None:
    assert mistakes(text) != []


def test_the_safe_loader_makes_plain_data_alone() -> None:
    from crisp_loop.core.safe_yaml import Loader

    tags = {tag.rpartition(":")[2] for tag in Loader.yaml_constructors if tag is not None}
    assert tags == {"null", "bool", "int", "float", "str", "seq", "map"}
    assert Loader.yaml_multi_constructors == {}


def test_all_sources_are_looked_at() -> None:
    assert len(SOURCES) > 200
