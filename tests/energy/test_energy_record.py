"""Recording the tables, with stand-ins for Accelergy and CACTI."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.energy import plan
from crisp_loop.energy.record import UNFINISHED, record_tables
from crisp_loop.primitives.schema import Logic
from crisp_loop.primitives.tables import Macro

Fake = Callable[[str], Path]
MACROS = [Macro(45, depth, 32, 1, 1) for depth in (64, 128, 256)]

ACCELERGY = """
import json
plug_in = {plug_in!r}
if '--list-components' in sys.argv:
    print('2026-11-21 INFO  Loading Python plug-in: ' + plug_in + '. Errors below are likely')
    sys.exit(0)
top = json.loads(Path(sys.argv[1]).read_text())['architecture']['subtree'][0]
names = [part['name'] for part in top['local']]
actions = {{part['name']: part['required_actions'] for part in top['local']}}
out.mkdir()
def dump(name, key, tables):
    (out / name).write_text(json.dumps({{key: tables}}))
dump('ERT.yaml', 'ERT', {{'tables': [
    {{'name': 'system.' + n, 'actions': [{{'name': a, 'energy': 64.0}} for a in actions[n]]}}
    for n in names]}})
dump('ART.yaml', 'ART', {{'tables': [{{'name': 'system.' + n, 'area': 2.0}} for n in names]}})
dump('ERT_summary_verbose.yaml', 'ERT_summary', {{'table_summary': [
    {{'name': 'system.' + n, 'primitive_estimation(s)': [{{n: {{'estimator': 'x'}}}}]}}
    for n in names]}})
"""
CACTI = """
source = Path(sys.argv[2])
asked = dict(line[1:].rsplit(' ', 1) for line in source.read_text().splitlines() if line[:1] == '-')
size = int(asked['size (bytes)'])
with (Path({folder!r}) / 'macros').open('a') as file:
    file.write(f'{{size}}\\n')
if size == {refused}:
    sys.exit(1)
names = ['Dynamic read energy (nJ)', 'Dynamic write energy (nJ)', 'Standby leakage per bank(mW)']
Path(str(source) + '.out').write_text(
    ', '.join(['Tech', *names, 'Area (mm2)']) + '\\n'
    + f'0.045, {{size / 1e3}}, {{size / 500}}, {{size / 1e6}}, {{size / 1e3}}\\n')
"""


@pytest.fixture
def tools(
    tmp_path: Path, fake_accelergy: Fake, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], Path]:
    monkeypatch.setattr(plan, "macros", lambda: MACROS)
    monkeypatch.setattr(plan, "SRAM_AXES", {45: plan.COARSE})
    monkeypatch.setattr(plan, "logic", lambda: [(45, Logic(class_="reg", width=8))])

    def make(refused: int = 0) -> Path:
        folder = tmp_path / "plug-in"
        folder.mkdir(exist_ok=True)
        program = folder / "cacti"
        head = f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n"
        program.write_text(head + CACTI.format(folder=str(folder), refused=refused))
        program.chmod(0o755)
        (folder / "default_cfg.cfg").write_text("-Core count 1\n")
        fake_accelergy(ACCELERGY.format(plug_in=str(folder / "cacti_wrapper.py")))
        return folder / "macros"

    return make


def rows(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    return [line for line in lines if not line.startswith("#")]


def test_tables_are_written_in_the_units_of_their_headers(
    tools: Callable[..., Path], tmp_path: Path
) -> None:
    tools()
    folder = tmp_path / "tables"
    files = record_tables(folder, workers=2)
    assert {file.name for file in files} == {"sram-45nm.csv", "dram.csv", "logic.csv"}
    assert set(folder.iterdir()) == set(files)
    assert rows(folder / "sram-45nm.csv") == [
        "depth,width,banks,ports,read_pJ,write_pJ,leakage_uW,area_um2",
        "64,32,1,1,256.0,512.0,0.256,256000.0",
        "128,32,1,1,512.0,1024.0,0.512,512000.0",
        "256,32,1,1,1024.0,2048.0,1.024,1024000.0",
    ]
    assert "LPDDR4,1.0" in rows(folder / "dram.csv")
    # 64 pJ a nanosecond are 64 mW.
    assert rows(folder / "logic.csv")[1:] == ["reg,45,8,64.0,64000.0,2.0"]


def test_a_call_that_failed_is_gone_on_with(tools: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    asked = tools(refused=1024)
    with pytest.raises(CrispLoopError, match=r"SRAM 256 x 32 b .*45 nm.*: it ended with status 1"):
        record_tables(folder, workers=1)
    assert [path.name for path in folder.iterdir()] == [UNFINISHED]
    with (folder / UNFINISHED).open("a") as file:
        file.write("45,256,32,1,1,9.0,9")  # cut off in the middle
    asked.unlink()
    tools()
    record_tables(folder, workers=1)
    assert asked.read_text() == "1024\n"
    assert not (folder / UNFINISHED).exists()


def test_an_unfinished_file_of_something_else_is_refused(
    tools: Callable[..., Path], tmp_path: Path
) -> None:
    tools()
    (tmp_path / UNFINISHED).write_text("hello\n")
    with pytest.raises(CrispLoopError, match="'hello' is no macro with its figures"):
        record_tables(tmp_path)
