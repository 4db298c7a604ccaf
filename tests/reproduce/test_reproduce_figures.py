"""The paper's figures at tiny settings, against what can be counted by other means."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.progress import Quiet
from crisp_loop.networks.registry import build
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.run import prune_network
from crisp_loop.reproduce import protocol, registry
from crisp_loop.reproduce.fig7 import DENSE as FINE_TUNED
from crisp_loop.reproduce.figure import UNJUDGED
from crisp_loop.reproduce.points import drawn_classes
from crisp_loop.reproduce.protocol import Protocol, protocol_of, within_reach
from crisp_loop.reproduce.rows import measured
from crisp_loop.reproduce.run import reproduce
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.sweep import Sweep

T = TypeVar("T")


def rows_of(name: str, out: Path, scale: Scale | None = None) -> pd.DataFrame:
    return reproduce([name], scale, out)[0].rows


# ---- Fig. 4: closed forms ----------------------------------------------------------------


def test_fig4_is_the_closed_form(tmp_path: Path) -> None:
    rows = rows_of("fig4", tmp_path)
    layers = [
        layer for layer in layer_table("resnet50").layers if layer.name not in ("conv1", "fc")
    ]
    assert len(layers) == 52
    # At 50 %, 2:4 is enough: two bits of offset for every second weight, no block indices.
    hybrid = sum(2 * layer.S * layer.K // 2 for layer in layers)
    csr = sum(
        layer.weights // 2 * math.ceil(math.log2(layer.K))
        + (layer.S + 1) * math.ceil(math.log2(layer.weights // 2 + 1))
        for layer in layers
    )
    mine = rows[(rows["model"] == "resnet50") & (rows["sparsity"] == 0.5) & (rows["block"] == 64)]
    bits = mine[mine["masks"] == "same"].set_index("format")["overhead_bits"]
    assert bits["hybrid"] == hybrid
    assert bits["csr"] == csr
    ratio = mine.set_index(["format", "masks"])["overhead_ratio"]["csr", "same"]
    assert ratio == pytest.approx(csr / hybrid, abs=1e-4)
    # Half of the kept blocks at B = 64 and 75 %: K'/B = K/128 of them, rounded, in 2:4.
    mine = rows[(rows["model"] == "resnet50") & (rows["sparsity"] == 0.75) & (rows["block"] == 64)]
    counted = 0
    for layer in layers:
        columns = layer.K // 64
        kept = max(1, round(columns / 2))
        counted += layer.S * kept * 64 // 2 * 2
        if kept < columns:
            counted += layer.S // 64 * kept * math.ceil(math.log2(columns))
    found = mine[(mine["format"] == "hybrid")]["overhead_bits"]
    assert found.item() == counted


# ---- Figs. 1, 2, 3 and 7 ------------------------------------------------------------------


def test_fig1_compares_networks_at_every_ratio(tmp_path: Path, tiny: Protocol) -> None:
    (done,) = reproduce(["fig1"], out=tmp_path)
    rows = measured(done.rows)
    assert len(rows) == 2 * 2 * 3  # networks, seeds, dense and two ratios
    by_ratio = {"4:4": 0.0, "2:4": 0.5, "1:16": 15 / 16}
    for row in rows:
        assert row.sparsity == pytest.approx(by_ratio[row.nm])
        assert tuple(map(int, row.classes.split())) == drawn_classes(row.draw, 10, 2)
    # MobileNet's loss less the ResNet's, by hand.
    top1 = {(row.network, row.seed, row.nm): 100 * row.test_top1 for row in rows}
    lost = {
        (name, seed): top1[name, seed, "4:4"] - top1[name, seed, "1:16"]
        for name in tiny.networks
        for seed in (0, 1)
    }
    more = [lost["digits-mobilenet", seed] - lost["digits-resnet", seed] for seed in (0, 1)]
    assert done.outcomes[0].measured == (pytest.approx(np.mean(more)),)
    assert done.outcomes[1].measured == (50.0,)


def test_a_point_is_what_the_pruning_stage_makes(tmp_path: Path, tiny: Protocol) -> None:
    rows = measured(rows_of("fig1", tmp_path / "figure"))
    row = next(row for row in rows if row.nm == "2:4" and row.seed == 1)
    config = PruneConfig.model_validate(
        tiny.prune | {"method": "nm", "nm": "2:4", "seed": 1, "upper_bound": False}
    )
    classes = [int(label) for label in row.classes.split()]
    summary = prune_network(row.network, "digits", classes, config, tmp_path / "stage")
    assert row.test_top1 == summary.pruned.test.top1
    assert row.macs_ratio == pytest.approx(summary.macs_ratio)
    assert row.sparsity == pytest.approx(summary.sparsity)


def test_fig2_counts_the_zeros_of_saved_masks(tmp_path: Path, tiny: Protocol) -> None:
    (done,) = reproduce(["fig2"], out=tmp_path)
    files = list((tmp_path / "points").glob("*.masks.safetensors"))
    assert len(files) == 4
    counted = sorted(
        (name, float(1 - mask.mean())) for file in files for name, mask in load_file(file).items()
    )
    found = sorted(zip(done.rows["layer"], done.rows["sparsity"], strict=True))
    assert [name for name, _ in found] == [name for name, _ in counted]
    assert [value for _, value in found] == pytest.approx([value for _, value in counted])
    mine = done.rows[done.rows["network"] == "digits-resnet"]
    highest = 100 * mine.groupby("layer")["sparsity"].mean().max()
    assert done.outcomes[0].measured == (pytest.approx(highest),)


def test_fig3_tells_what_is_out_of_reach(tmp_path: Path, tiny: Protocol) -> None:
    scale = Scale(networks=("digits-mobilenet",), seeds=1)
    small = tiny.model_copy(update={"sparsities": (0.8, 0.95)})
    protocol._PROTOCOLS["ci"] = small
    (done,) = reproduce(["fig3"], scale, tmp_path)
    left_out = done.rows[done.rows["left_out"].notna()]
    assert 0.95 in set(left_out["kappa"])
    most = left_out["left_out"].str.extract(r"the most is ([\d.]+)\.")[0].astype(float)
    assert (most < left_out["kappa"]).all()
    page = (tmp_path / "fig3.md").read_text()
    assert "out of reach" in page
    # One run has no error, so no difference can be judged.
    assert {outcome.verdict for outcome in done.outcomes} == {UNJUDGED}


def test_fig7_counts_work_as_one_would_by_hand(tmp_path: Path, tiny: Protocol) -> None:
    scale = Scale(networks=("digits-resnet",), seeds=1)
    rows = measured(rows_of("fig7", tmp_path, scale))
    assert {row.user_classes for row in rows} == {1, 2}  # 50 is more than the digits have
    chosen = protocol_of(scale)
    kappa = chosen.kappa_for(2, 10)
    assert kappa == round(0.95 + (0.85 - 0.95) * math.log(2) / math.log(10), 3)
    options = {"method": "crisp", "nm": "2:4", "block": 16, "sparsity": kappa}
    point = within_reach(chosen.point("digits-resnet", 0, 2, **options))
    masks = Sweep(tmp_path, Quiet()).masks(point).layers
    dense = kept = 0
    for layer in layer_table("digits-resnet").layers:
        for row in range(layer.S):
            dense += layer.K * layer.N
            mask = masks.get(layer.name)
            kept += layer.N * (layer.K if mask is None else int(mask[row].sum()))
    found = next(row for row in rows if row.series == "CRISP B=16" and row.user_classes == 2)
    assert found.macs_ratio == pytest.approx(kept / dense)
    assert found.flops_ratio <= found.macs_ratio
    # The baselines are given about as much work.
    for row in rows:
        if row.series in ("OCAP", "CAP'NN"):
            own = next(
                other for other in rows
                if other.series == "CRISP B=16" and other.user_classes == row.user_classes
            )  # fmt: skip
            assert row.flops_ratio == pytest.approx(own.flops_ratio, abs=0.1)
        if row.series == FINE_TUNED:
            assert row.macs_ratio == row.flops_ratio == 1


# ---- going on after a kill ----------------------------------------------------------------


class Killed:
    """Progress that ends the process's work after some points."""

    def __init__(self, after: int) -> None:
        self.after = after

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        for number, item in enumerate(items):
            if what.startswith("Fig. 1") and number == self.after:
                raise KeyboardInterrupt
            yield item

    def note(self, text: str) -> None:
        pass


def test_a_killed_figure_goes_on_to_the_same_rows(tmp_path: Path, tiny: Protocol) -> None:
    whole = rows_of("fig1", tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        reproduce(["fig1"], out=tmp_path / "killed", progress=Killed(5))
    points = tmp_path / "killed" / "points"
    kept = {file.name: file.stat().st_mtime_ns for file in points.iterdir()}
    assert len(kept) == 5
    assert not (tmp_path / "killed" / "fig1.csv").exists()
    pd.testing.assert_frame_equal(rows_of("fig1", tmp_path / "killed"), whole)
    assert len(list(points.iterdir())) == len(whole)
    for name, time in kept.items():  # none of them was measured again
        assert (points / name).stat().st_mtime_ns == time


def test_figures_share_their_points(tmp_path: Path, tiny: Protocol) -> None:
    rows_of("fig1", tmp_path)
    before = set((tmp_path / "points").iterdir())
    rows_of("fig3", tmp_path, Scale(seeds=2))
    added = set((tmp_path / "points").iterdir()) - before
    # CRISP and blocks alone at two sparsities; the dense networks are there.
    assert len(added) == 2 * 2 * 4


def test_a_damaged_point_is_measured_again(tmp_path: Path, tiny: Protocol) -> None:
    sweep = Sweep(tmp_path, Quiet())
    point = protocol_of(Scale()).point("digits-resnet", 0, method="nm", nm="2:4")
    (found,) = sweep.measure([point])
    (file,) = (tmp_path / "points").glob("*.json")
    file.write_text(file.read_text()[:40])
    again = Sweep(tmp_path, Quiet()).measure([point])[0]
    assert again.model_dump(exclude={"seconds"}) == found.model_dump(exclude={"seconds"})


# ---- other scales -------------------------------------------------------------------------


def pictures(where: Path, side: int, classes: int, each: int) -> Path:
    rng = np.random.default_rng(0)
    for label in range(classes):
        folder = where / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(each):
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            pixels[:, :, label % 3] //= 4
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return where


@pytest.mark.slow
def test_mid_scale_on_pictures_in_folders(
    tmp_path: Path, tiny: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = protocol._PROTOCOLS["mid"]
    small = {"prune": tiny.prune, "seeds": 1, "user_classes": 2, "patterns": ("2:4",), "worth": 1}
    monkeypatch.setitem(protocol._PROTOCOLS, "mid", known.model_copy(update=small))
    data = f"folder:{pictures(tmp_path / 'data', 32, 3, 10)}"
    done = reproduce(["fig1", "fig2"], Scale(name="mid", data=data), tmp_path / "out")
    assert set(done[0].rows["network"]) == {"resnet20"}
    assert set(done[0].rows["scale"]) == {"mid"}
    assert done[0].outcomes[0].verdict == UNJUDGED  # there is no MobileNet beside it
    assert "--scale mid --data folder:" in (tmp_path / "out" / "fig1.md").read_text()
    # Other pictures under the same name are another measurement.
    picture = next((tmp_path / "data" / "class0").iterdir())
    Image.new("RGB", (32, 32)).save(picture)
    again = reproduce(["fig2"], Scale(name="mid", data=data), tmp_path / "out")
    assert again[0].measurement.key != done[1].measurement.key


@pytest.mark.slow
def test_full_scale_takes_the_same_path_with_given_weights(
    tmp_path: Path, tiny: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = protocol._PROTOCOLS["full"]
    small = {
        "networks": ("resnet18",), "seeds": 1, "user_classes": 2, "patterns": ("2:4",),
        "prune": known.prune | {"iterations": 1, "ste_epochs": 0, "iteration_epochs": 0,
                                "final_epochs": 1, "samples_per_class": 2, "train_epochs": 1},
    }  # fmt: skip
    monkeypatch.setitem(protocol._PROTOCOLS, "full", known.model_copy(update=small))
    data = pictures(tmp_path / "data", 224, 3, 10)
    weights = tmp_path / "weights"
    weights.mkdir()
    save_file(build("resnet18", 3).state_dict(), weights / "resnet18.safetensors")
    scale = Scale(name="full", data=f"folder:{data}", weights=str(weights))
    (done,) = reproduce(["fig1"], scale, tmp_path / "out")
    rows = measured(done.rows)
    assert {(row.network, row.nm) for row in rows} == {("resnet18", "4:4"), ("resnet18", "2:4")}
    assert not list((tmp_path / "out").glob("dense/*"))  # nothing was trained
    page = (tmp_path / "out" / "fig1.md").read_text()
    assert f"--scale full --data folder:{data} --weights {weights}" in page


def test_full_scale_is_the_papers_protocol() -> None:
    scale = protocol._PROTOCOLS["full"]
    config = PruneConfig.model_validate(scale.prune)
    epochs = config.iterations * (config.ste_epochs + config.iteration_epochs) + config.final_epochs
    optimizer = (config.lr, config.batch_size, config.momentum, config.weight_decay)
    # Sec. IV-A.
    assert (epochs, config.samples_per_class, *optimizer) == (50, 256, 0.1, 32, 0.9, 4e-5)
    assert scale.networks == ("resnet50", "vgg16", "mobilenetv2")
    assert scale.blocks == (16, 32, 64)
    assert (scale.seeds, scale.user_classes) == (5, 10)


# ---- what cannot work ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "mid"}, "--scale mid needs --data; expected cifar10:PATH"),
        ({"name": "full", "data": "folder:x"}, "--scale full needs --weights; expected a dir"),
        ({"networks": ("alexnet",)}, "'alexnet' cannot be used; the known ones are"),
        ({"data": "mnist"}, "'mnist' cannot be used; the known ones are digits"),
        ({"weights": "nowhere"}, "'nowhere' cannot be used; expected a file, or a directory"),
        ({"weights": "."}, "it holds none of digits-resnet.pth, digits-resnet.pt"),
        ({"data": "cifar10:nowhere"}, "nowhere does not exist; expected the unpacked folder"),
        ({"networks": ("resnet20",)}, "digits holds images of 1x8x8, which digits-resnet"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, given: dict[str, object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CrispLoopError) as caught:
        reproduce(["fig1"], Scale.model_validate(given), tmp_path / "out")
    assert words in str(caught.value)
    assert not list(tmp_path.glob("out/fig1*"))


def test_one_file_of_weights_is_for_one_network(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"")
    with pytest.raises(InputError, match="name it with --model"):
        protocol_of(Scale(weights=str(file)))
    chosen = protocol_of(Scale(weights=str(file), networks=("digits-vgg",)))
    assert chosen.weights == {"digits-vgg": str(file)}


def test_more_classes_than_there_are_is_an_error() -> None:
    with pytest.raises(InputError, match="expected 1 to 10, as the data has"):
        drawn_classes(0, 10, 11)
    assert set(drawn_classes(3, 10, 4)) < set(drawn_classes(3, 10, 5))


def test_the_registry_is_in_the_papers_order() -> None:
    assert sorted(registry.FIGURES) == list(registry.FIGURES)
