"""Who may import whom: the contract in pyproject.toml holds, and would notice a breach."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the ``crisp_loop`` and ``pyproject.toml`` in ``folder``."""
    code = "import sys, importlinter.cli as cli; sys.exit(cli.lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def copy_of_the_package(folder: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", folder)
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(ROOT / "crisp_loop", folder / "crisp_loop", ignore=ignored)


def test_contract_holds() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_a_stage_that_imports_a_stage_is_caught(tmp_path: Path) -> None:
    package = copy_of_the_package(tmp_path)
    (package / "report" / "sideways.py").write_text("import crisp_loop.cost.run\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "crisp_loop.report is not allowed to import crisp_loop.cost" in done.stdout


def test_the_vocabulary_that_imports_a_stage_is_caught(tmp_path: Path) -> None:
    package = copy_of_the_package(tmp_path)
    (package / "core" / "upwards.py").write_text("from crisp_loop import pack\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "crisp_loop.core is not allowed to import crisp_loop.pack" in done.stdout


def test_every_folder_and_module_stands_in_the_contract() -> None:
    contract = re.search(r"^layers = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    assert contract
    named = set(re.findall(r"crisp_loop\.(\w+)", contract[1]))
    package = ROOT / "crisp_loop"
    there = {path.parent.name for path in package.glob("*/__init__.py")}
    there |= {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert there == named


def test_the_package_itself_imports_without_torch() -> None:
    code = "import sys, crisp_loop; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0
