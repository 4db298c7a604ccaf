"""The wheel holds the package and its data, and works where there is no checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = {
    "templates": (".jinja2",),
    "arch": (".yaml", ".csv"),
    "mappings": (".yaml",),
}
PAGE = ("*.jinja2", "*.css", "*.js")
"""What the report's page is made of, beside the modules that fill it."""


def run(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that nothing lands in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("crisp_loop", *DATA):
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", "out", ".", cwd=source)
    (built,) = (source / "out").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("target")
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile")
    run("-m", "pip", "install", *options, "--target", str(target), str(wheel), cwd=target)
    return target


def expected_files() -> set[str]:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "crisp_loop").rglob("*.py")}
    for pattern in PAGE:
        page = (ROOT / "crisp_loop/report/page").glob(pattern)
        files |= {path.relative_to(ROOT).as_posix() for path in page}
    for name, endings in DATA.items():
        for path in (ROOT / name).rglob("*"):
            if path.suffix in (".py", *endings):
                files.add("crisp_loop/" + path.relative_to(ROOT).as_posix())
    return files | {"crisp_loop/py.typed"}


def test_wheel_holds_the_package_and_its_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert names == expected_files()
    assert len(licences) == 1


def test_installed_data_is_found_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = """
import importlib.resources
for package in ("crisp_loop", "crisp_loop.templates", "crisp_loop.arch", "crisp_loop.mappings"):
    root = importlib.resources.files(package)
    stack = [(root, "")]
    while stack:
        folder, prefix = stack.pop()
        for item in folder.iterdir():
            if item.is_dir():
                stack.append((item, prefix + item.name + "/"))
            elif item.name.endswith((".yaml", ".csv", ".jinja2", ".typed", ".css", ".js")):
                assert item.read_bytes() is not None
                print(package, root, prefix + item.name, sep="|")
"""
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"}
    lines = run("-c", code, cwd=tmp_path, env=environment).splitlines()
    found = set()
    for line in lines:
        package, root, name = line.split("|")
        assert Path(root).is_relative_to(installed)
        found.add(f"{package.replace('.', '/')}/{name}")
    wanted = {
        name
        for name in expected_files()
        if name.endswith((".yaml", ".csv", ".jinja2", ".typed", ".css", ".js"))
    }
    assert found == wanted
    assert "crisp_loop/templates/problem.yaml.jinja2" in found
    assert "crisp_loop/arch/dense.yaml" in found
    assert "crisp_loop/py.typed" in found
    assert "crisp_loop/report/page/page.html.jinja2" in found


def test_installed_command_runs_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    said = run("-m", "crisp_loop.cli.main", "--version", cwd=tmp_path, env=environment)
    assert said.startswith("crisp-loop 0.")
