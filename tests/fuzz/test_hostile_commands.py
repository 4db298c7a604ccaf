"""Hostile files through the command line: one sentence, exit code 2, no traceback, nothing left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_readers import READERS
from fuzz_text import Raw, as_json, as_yaml
from typer.testing import CliRunner

from crisp_loop.cli.main import app

EXAMPLES = {reader.name: reader for reader in READERS}
BOMB = Raw("[&a0 [x], " + ", ".join(f"&a{n + 1} [*a{n}, *a{n}]" for n in range(40)) + "]")
DEEP = Raw("[" * 100_000)
LONG = "x" * 300


def written(name: str, text: str | bytes) -> Callable[[Path], object]:
    def write(folder: Path) -> object:
        data = text if isinstance(text, bytes) else text.encode()
        return (folder / name).write_bytes(data)

    return write


def broken(example: str, name: str, old: str, new: str) -> Callable[[Path], object]:
    """A valid example with one text in one of its files replaced."""

    def write(folder: Path) -> object:
        EXAMPLES[example].make(folder)
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        return (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return write


def linked(name: str, target: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(target)


def several(*writers: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [write(folder) for write in writers]


SAFETENSORS = (2**62).to_bytes(8, "little") + b"{}"
TENSOR_NAME = json.dumps(
    {"../../x\u001b[2J": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
)
TENSOR = len(TENSOR_NAME).to_bytes(8, "little") + TENSOR_NAME.encode() + b"\0"
PICKLE = b"cos\nsystem\n(S'touch owned'\ntR."
MEMO = b"\x80\x02Nr\xff\xff\xff\x7f."

CASES: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("bomb", written("e.yaml", as_yaml({"name": BOMB})), ["eval", "e.yaml"]),
    ("deep", written("e.yaml", as_yaml({"prune": DEEP})), ["eval", "e.yaml"]),
    ("tag", written("e.yaml", "name: !!python/object/apply:os.system [touch owned]"),
     ["eval", "e.yaml"]),
    ("digits", written("e.yaml", f"prune: {{seed: {'1' * 5000}}}"), ["eval", "e.yaml"]),
    ("infinite", written("e.yaml", "activation_density: 1e999"), ["eval", "e.yaml"]),
    ("escape", written("e.yaml", "name: '../../owned'"), ["prune", "e.yaml"]),
    ("nul", written("e.yaml", 'data: "folder:a\\0b"'), ["prune", "e.yaml"]),
    ("long data", written("e.yaml", f"data: folder:{LONG}"), ["prune", "e.yaml"]),
    ("long design", written("e.yaml", f"accelerators: [{LONG}.yaml]"), ["map", "e.yaml"]),
    ("long file", lambda folder: None, ["eval", f"{LONG}.yaml"]),
    ("circle", linked("e.yaml", "e.yaml"), ["eval", "e.yaml"]),
    ("zeros", linked("e.yaml", "/dev/zero"), ["eval", "e.yaml"]),
    ("not text", written("e.yaml", b"\xff\xfe\x00"), ["map", "e.yaml"]),
    ("layers deep", written("l.yaml", as_yaml([DEEP])), ["specs", "--layers", "l.yaml"]),
    ("phases", written("l.yaml", "- {name: a, kind: conv_transpose, in_channels: 1,"
                       " out_channels: 1, kernel: 9, stride: 2000000000, input_size: 2}"),
     ["specs", "--layers", "l.yaml"]),
    ("controls", written("l.yaml", '- {name: "\\e[2J", kind: linear, in_channels: 1,'
                         " out_channels: 1}"), ["specs", "--layers", "l.yaml"]),
    ("csv", written("l.csv", b"name,kind\n\"" + b"x" * 200_000 + b"\n"),
     ["specs", "--layers", "l.csv"]),
    ("json", written("l.json", as_json({"model": "x", "parameters": 1, "layers": DEEP})),
     ["specs", "--layers", "l.json"]),
    ("onnx", written("l.onnx", b"\x08\x00\x3a\xff\xff\xff\xff\x0f"),
     ["specs", "--layers", "l.onnx"]),
    ("include", written("l.yaml", "{{include_text('/etc/passwd')}}\nproblem: {C: 1}\n"),
     ["specs", "--layers", "l.yaml"]),
    ("masks", several(written("l.yaml", "- {name: a, kind: linear, in_channels: 16,"
                              " out_channels: 16}"), written("m.safetensors", SAFETENSORS)),
     ["specs", "--layers", "l.yaml", "--masks", "m.safetensors"]),
    ("design", broken("design", "mine.yaml", "name: dstc", "name: ../../owned"),
     ["map", "-a", "mine.yaml"]),
    ("energy", broken("design", "mine.yaml", "title: ", "levels: "),
     ["energy", "--offline", "-a", "mine.yaml"]),
    ("pack", several(written("w.safetensors", TENSOR), written("m.safetensors", TENSOR)),
     ["pack", "w.safetensors", "m.safetensors"]),
    ("formats", written("m.safetensors", TENSOR), ["formats", "--masks", "m.safetensors"]),
    ("pickle", written("w.pth", PICKLE), ["prune", "--weights", "w.pth"]),
    ("cifar", several(lambda folder: (folder / "c").mkdir(), *(
        written(f"c/{name}", PICKLE if name.endswith("1") else MEMO)
        for name in ("data_batch_1", "data_batch_2"))), ["prune", "--data", "cifar10:c",
                                                         "--model", "cifar-resnet20"]),
    ("zip", written("d.zip", b"PK\5\6" + b"\xff" * 18),
     ["prune", "--data", "folder:d.zip", "--model", "cifar-resnet20"]),
    ("spec", broken("spec", "spec.yaml", "problem:", "problem: *x\nx:"), ["cost", "spec.yaml"]),
    ("spec numbers", broken("spec", "spec.yaml", "version: 0.3", f"version: {'9' * 400}"),
     ["cost", "spec.yaml"]),
    ("long spec", lambda folder: None, ["cost", LONG]),
    ("markup", lambda folder: None, ["cost", "[/b]"]),
    ("sweep bomb", written("s.yaml", as_yaml({"grid": BOMB})), ["sweep", "s.yaml"]),
    ("sweep escape", written("s.yaml", "name: ../../owned"), ["sweep", "s.yaml"]),
    ("sweep design", written("s.yaml", "grid: {arch: {../../owned: [1]}}"), ["sweep", "s.yaml"]),
    ("pareto deep", written("e.yaml", as_yaml({"prune": DEEP})), ["pareto", "e.yaml"]),
    ("reproduce zip", written("d.zip", b"PK\5\6" + b"\xff" * 18),
     ["reproduce", "fig3", "--scale", "mid", "--data", "folder:d.zip"]),
    ("results", broken("results table", "results.csv", "dense", "dense\x1b[2J"),
     ["report", "results.csv"]),
    ("run", broken("run directory", "specs/manifest.json", '"spec": "', '"spec": "/etc/'),
     ["report", "."]),
    ("evaluations", broken("run directory", "cost/evaluations.json", '"cycles": ',
                           '"cycles": 1' + "0" * 400), ["report", "."]),
    ("compared", several(broken("results table", "results.csv", "dense", '"dense'),
                         written("b.csv", "model\n")), ["compare", "results.csv", "b.csv"]),
    ("reprune", several(lambda folder: (folder / "run/prune").mkdir(parents=True),
                        written("run/prune/summary.json", as_json({"network": DEEP}))),
     ["reprune", "run", "--classes", "1,2"]),
]  # fmt: skip


@pytest.mark.parametrize(("write", "arguments"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_a_hostile_file_is_one_sentence(
    write: Callable[[Path], object],
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {path for path in tmp_path.rglob("*") if not path.is_dir()}
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
    told = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert result.stderr.splitlines()[-1] == told[0]
    assert told[0].isprintable()
    assert len(told[0]) < 2100
    assert "Traceback" not in result.output
    left = {path for path in tmp_path.rglob("*") if not path.is_dir()} - before
    # A command stops at the stage that refused; what earlier stages wrote is whole.
    assert not [path for path in left if path.name.startswith(".") or "owned" in path.name]
    assert not (tmp_path.parent / "owned").exists()


def test_every_command_that_reads_files_is_among_them() -> None:
    named = {arguments[0] for _, _, arguments in CASES}
    commands = {command.name or command.callback.__name__.rstrip("_")  # type: ignore[union-attr]
                for command in app.registered_commands}  # fmt: skip
    assert commands - named <= {"layers", "doctor"}, "these two read no file"


def test_hostile_names_stay_inside_and_are_shown_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that mean something to rich, Jinja, matplotlib, YAML or a file system are text."""
    names = ["../../owned", "/owned", "..", "C:\\owned", "a/b", "A/b", ".hidden", "con", "x" * 300,
             "[/b][red]", ":bomb:", "{{ 7 * 7 }}", "{% raw %}", "$\\frac{$", "=1+1", "'\": &a *a",
             "</script>", "\u202eevil"[1:], "naïve"]  # fmt: skip
    entries = [
        {"name": name, "kind": "linear", "in_channels": 16, "out_channels": 16 + 16 * (n % 2)}
        for n, name in enumerate(names)
    ]
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("l.yaml").write_text(as_yaml(entries))
    outside = set(tmp_path.iterdir())
    told = CliRunner().invoke(
        app, ["specs", "--layers", "l.yaml", "-a", "dense", "--out", "run[/x]"]
    )
    assert told.exit_code == 0, told.output
    assert "Specs: run[/x]/specs" in told.output
    assert set(tmp_path.iterdir()) == outside
    directories = sorted(each.name for each in Path("run[/x]/specs/dense").iterdir())
    assert len(directories) == len(names)
    assert all(each.isascii() and len(each) <= 130 and not each.startswith(".")
               for each in directories)  # fmt: skip
    manifest = json.loads(Path("run[/x]/specs/manifest.json").read_text())
    assert [entry["layer"] for entry in manifest["entries"]] == names
    shown = CliRunner().invoke(
        app, ["cost", *(f"run[/x]/specs/dense/{each}" for each in directories)]
    )
    assert shown.exit_code == 0, shown.output


def test_a_directory_that_is_a_link_is_replaced_and_what_it_leads_to_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("l.yaml").write_text("- {name: a, kind: linear, in_channels: 16, out_channels: 16}\n")
    Path("elsewhere").mkdir()
    Path("elsewhere/precious").write_text("kept")
    Path("run").mkdir()
    Path("run/specs").symlink_to(tmp_path / "elsewhere")
    told = CliRunner().invoke(app, ["specs", "--layers", "l.yaml", "-a", "dense", "--out", "run"])
    assert told.exit_code == 0, told.output
    assert Path("elsewhere/precious").read_text() == "kept"
    assert not Path("run/specs").is_symlink()
    shutil.rmtree("run/specs")
    Path("run/specs").write_text("a file")
    told = CliRunner().invoke(app, ["specs", "--layers", "l.yaml", "-a", "dense", "--out", "run"])
    assert told.exit_code == 2
    assert "run/specs cannot be written" in told.stderr
