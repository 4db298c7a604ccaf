"""Fig. 8's claims against rows that are made up, so that each verdict is known."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from crisp_loop.core.layers import roles
from crisp_loop.networks.trace import layer_table
from crisp_loop.pipeline.experiment import load_experiment
from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS, UNJUDGED, Outcome
from crisp_loop.reproduce.hardware.claims import CLAIMS
from crisp_loop.reproduce.hardware.measure import base_points, sensitivity_points
from crisp_loop.reproduce.hardware.settings import SETTINGS
from crisp_loop.reproduce.hardware.shapes import early, late, shapes
from crisp_loop.reproduce.hardware.tables import ranges_table, verdicts_table

LAYERS = ("layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2")


def row(layer: str, design: str, **changes: Any) -> dict[str, Any]:
    """One row as the paper would have it."""
    speed = {"dense": 1.0, "nvidia-stc": 1.9, "dstc": 4.0, "crisp-stc": 9.0}[design]
    late_dstc = design == "dstc" and layer.startswith("layer4")
    base = {
        "setting": "base", "nm": "1:4", "B": 64, "model": "resnet50", "layer": layer,
        "accelerator": design, "M": 64, "K": 576, "N": LAYERS.index(layer), "energy_uJ": 100.0,
        "weight_density": 0.1, "speedup": 2.0 if late_dstc else speed, "energy_gain": 1.5,
        "bottleneck": "DRAM" if late_dstc else "MAC",
    }  # fmt: skip
    return base | changes


def table(**changes: dict[str, Any]) -> pd.DataFrame:
    """Every layer and design at every pattern; ``changes`` by design, in full words."""
    speeds = {"1:4": 10.0, "2:4": 8.0, "3:4": 5.0}
    rows = []
    for layer in LAYERS:
        for nm, ours in speeds.items():
            for design in ("dense", "nvidia-stc", "dstc", "crisp-stc"):
                own = {"speedup": ours} if design == "crisp-stc" else {}
                other = changes.get(design.replace("-", "_"), {})
                rows.append(row(layer, design, nm=nm, **(own | other)))
    return pd.DataFrame(rows)


def judged(rows: pd.DataFrame) -> dict[str, Outcome]:
    return {each.key: each.judged(rows) for each in CLAIMS}


def test_rows_as_the_paper_has_them() -> None:
    found = judged(table(crisp_stc={"energy_gain": 30.0, "energy_uJ": 50.0}))
    blocks = {"B speed", "B energy"}  # need blocks of 16 and 32 too
    assert {key for key, each in found.items() if each.verdict == UNJUDGED} == blocks
    assert {key for key, each in found.items() if each.verdict == DIFFERS} == set()
    assert found["1:4 speed"].measured == (10.0,)
    assert found["sparser faster"].measured == pytest.approx((10 / 8, 8 / 5))
    assert found["DSTC energy"].measured == pytest.approx((2.0,))
    assert found["30x energy"].distance == 0


@pytest.mark.parametrize(
    ("key", "changes", "distance"),
    [
        ("1:4 speed", {"crisp_stc": {"speedup": 4.0}}, -3.0),
        ("2:4 speed", {"crisp_stc": {"speedup": 15.0}}, 3.0),
        ("sparser faster", {"crisp_stc": {"speedup": 8.0}}, -0.05),
        ("STC speed", {"nvidia_stc": {"speedup": 2.5}}, 0.5),
        ("STC energy", {"nvidia_stc": {"energy_gain": 2.2}}, 0.2),
        ("DSTC early", {"dstc": {"speedup": 2.0}}, -1.0),
        ("DSTC late", {"dstc": {"speedup": 4.0}}, 1.0),
        ("DSTC waits", {"dstc": {"bottleneck": "MAC"}}, -50.0),
        ("fastest", {"dstc": {"speedup": 20.0}}, -100.0),
        ("30x energy", {"crisp_stc": {"energy_gain": 12.0}}, -18.0),
        ("DSTC energy", {"dstc": {"energy_uJ": 50.0}}, -0.5),
    ],
)
def test_rows_that_are_otherwise(key: str, changes: dict[str, Any], distance: float) -> None:
    found = judged(table(**changes))[key]
    assert found.verdict == DIFFERS
    assert found.distance == pytest.approx(distance)


def test_blocks_compare_where_all_sides_were_measured() -> None:
    rows = pd.concat(
        [
            table(crisp_stc={"speedup": speed, "energy_gain": gain}).assign(B=block)
            for block, speed, gain in ((16, 3.0, 2.0), (32, 6.0, 3.0), (64, 6.0, 2.9))
        ]
    )
    found = judged(rows)
    assert found["B speed"].verdict == FOLLOWS  # a tie with 32
    assert found["B speed"].measured == (100.0,)
    assert found["B energy"].verdict == DIFFERS
    assert found["B energy"].measured == (0.0,)


def test_shapes_are_the_19_of_resnet50_without_its_ends() -> None:
    layers = layer_table("resnet50")
    rows = pd.DataFrame(
        [
            {"model": "resnet50", "layer": each.name, "M": each.S, "K": each.K, "N": each.N}
            for each in layers.layers
        ]
    )
    found = shapes(rows)
    ends = roles(layers)
    inner = {(each.S, each.K, each.N) for each in layers.layers if each.name not in ends}
    assert len(found) == len(inner) == 19
    assert set(found[["M", "K", "N"]].itertuples(index=False, name=None)) == inner
    assert set(early(found)["N"]) == {3136, 784}
    assert 49 in set(late(found)["N"])


def test_settings_differ_in_one_thing_and_are_experiments() -> None:
    names = [setting.name for setting in SETTINGS]
    assert len(names) == len(set(names))
    assert len({point.name for point in [*base_points(), *sensitivity_points()]}) == len(
        [*base_points(), *sensitivity_points()]
    )
    base = load_experiment(None, {"network": "resnet50", "masks": "draw"})
    for point in sensitivity_points():
        changed = point.experiment  # validates designs, fields and values
        assert changed.network == "resnet50"
        different = [
            name
            for name in ("arch", "batch", "columns", "profile", "activation_density", "engine")
            if getattr(changed, name) != getattr(base, name) and name != "engine"
        ]
        different += ["engine"] if changed.engine == "analytic-exact" else []
        different += ["kappa"] if point.setting.kappa else []
        assert different, point.name
        assert len(different) == 1 or point.setting.group == "counting"


def test_tables_have_a_line_a_setting_and_a_claim() -> None:
    rows = pd.concat([table(), table(dstc={"speedup": 1.0}).assign(setting="dram-8")])
    ranges = ranges_table(rows).splitlines()
    assert len(ranges) == 2 + 2
    assert "DRAM bandwidth" in ranges[-1]
    assert ranges[2].count("|") == ranges[0].count("|")
    verdicts = verdicts_table(rows).splitlines()
    assert len(verdicts) == 2 + len(CLAIMS)
    told = next(line for line in verdicts if line.startswith("| DSTC is 3-8x"))
    assert "1 of 2" in told
    assert "8 words a cycle" in told
