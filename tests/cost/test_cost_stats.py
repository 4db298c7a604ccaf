"""The parser against figures read off the golden files by eye."""

from __future__ import annotations

from pathlib import Path

import pytest

from crisp_loop.core.evaluation import Accesses, FormatAccesses
from crisp_loop.cost.stats import StatsError, parse_stats

DATA = Path(__file__).parent / "data"
GOLDEN = sorted(path.parent.name for path in DATA.glob("*/timeloop-model.stats.txt"))


def stats_text(case: str) -> str:
    return (DATA / case / "timeloop-model.stats.txt").read_text(encoding="utf-8")


# case: (cycles, energy uJ by the summary's fJ per algorithmic compute, utilization, bottleneck)
SUMMARY = {
    "dense-conv5-1x1": (262144, 173.773706, 1.0, "MAC"),
    "stc24-conv5-1x1": (131072, 95.86367, 1.0, "MAC"),
    "dstc-d08-conv5-1x1": (44581, 31.393527, 0.2822, "SMEM"),
    "crisp24-b64-conv4-3x3": (73728, 76.90248, 1.0, "MAC"),
    "crisp14-b32-conv4-3x3": (129930, 203.244479, 0.5674, "SMEM"),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_summary(case: str) -> None:
    cycles, energy_uJ, utilization, bottleneck = SUMMARY[case]
    found = parse_stats(stats_text(case), case, engine_version="x")
    assert (found.spec, found.engine, found.engine_version) == (case, "timeloop", "x")
    assert found.cycles == cycles
    # The summary's figure has two decimals of a fJ, of some thousands; the sum is finer.
    assert found.energy_uJ == pytest.approx(energy_uJ, rel=5e-6)
    assert found.utilization == pytest.approx(utilization, abs=1e-4)
    assert found.bottleneck == bottleneck
    assert [level.name for level in found.levels] == ["LRF", "RF", "SMEM", "DRAM"]
    by_level = sum(level.energy_pJ for level in found.levels) + found.compute.energy_pJ
    assert found.energy_uJ == pytest.approx(by_level / 1e6, rel=1e-12)


@pytest.mark.parametrize("case", sorted(path.name for path in (DATA / "v3.0.3").iterdir()))
def test_an_older_version_is_read_alike(case: str) -> None:
    """Timeloop v3.0.3 (October 2023) on the same problem; its specs spell keys with hyphens."""
    name = case.removesuffix(".stats.txt")
    older = (DATA / "v3.0.3" / case).read_text(encoding="utf-8")
    assert older != stats_text(name)
    assert parse_stats(older, name, engine_version="x") == parse_stats(
        stats_text(name), name, engine_version="x"
    )


def test_dense_layout() -> None:
    found = parse_stats(stats_text("dense-conv5-1x1"), "dense")
    mac = found.compute
    assert (mac.name, mac.instances, mac.utilized_instances) == ("MAC", 256, 256)
    assert (mac.algorithmic, mac.actual, mac.gated, mac.skipped) == (67108864, 67108864, 0, 0)
    smem = found.level("SMEM")
    assert (smem.cycles, smem.throttling, list(smem.tensors)) == (262144, 1.0, ["A", "B"])
    a, b = smem.tensors["A"], smem.tensors["B"]
    assert (a.tile_shape, a.utilized_capacity, a.instances) == (32768, 32768, 1)
    assert a.reads == Accesses(1048576, 1048576, 0, 0)
    assert a.fills == Accesses(1048576, 1048576, 0, 0)
    assert a.updates == Accesses()
    assert a.format_reads == FormatAccesses()
    assert a.energy_pJ == 7758839.81
    assert b.fills == Accesses(32768, 32768, 0, 0)
    assert smem.energy_pJ == pytest.approx(7758839.81 + 4105041.92, rel=1e-12)


def test_sparse_layout_with_bitmaps() -> None:
    found = parse_stats(stats_text("dstc-d08-conv5-1x1"), "dstc")
    mac = found.compute
    assert (mac.cycles, mac.algorithmic, mac.actual) == (12583, 67108864, 3221227)
    assert (mac.gated, mac.skipped, mac.energy_pJ) == (0, 39191576, 1356834.44)
    lrf = found.level("LRF").tensors["A"]
    assert (lrf.tile_shape, lrf.utilized_capacity, lrf.instances) == (32, 3, 4)
    assert lrf.reads == Accesses(524288, 41944, 0, 0)
    assert lrf.format_fills.ranks == ((335545, 0), (0, 0))
    assert lrf.energy_pJ == 91705.63
    smem = found.level("SMEM").tensors["A"]
    assert smem.utilized_capacity == 2622
    assert smem.reads == Accesses(1048576, 83887, 0, 0)
    assert smem.format_reads.ranks == (
        (671089, 0), (0, 0), (32768, 2624), (0, 96), (0, 0), (0, 0), (0, 0),
    )  # fmt: skip
    assert smem.format_updates.ranks == ()


def test_sparse_layout_with_offsets() -> None:
    found = parse_stats(stats_text("crisp24-b64-conv4-3x3"), "crisp")
    lrf = found.level("LRF").tensors["A"]
    assert lrf.reads == Accesses(73728, 73728, 0, 0)
    assert lrf.fills == Accesses(1152, 1152, 0, 0)
    assert lrf.format_reads.ranks == ((73728, 0),)
    dram = found.level("DRAM")
    assert list(dram.tensors) == ["A", "B", "Z"]
    a = dram.tensors["A"]
    assert (a.tile_shape, a.utilized_capacity, a.energy_pJ) == (147456, 73728, 4718592.0)
    assert a.reads == Accesses(147456, 73728, 0, 0)
    assert a.format_reads.ranks == (
        (73728, 0), (18432, 18432), (1152, 1152), (144, 144), (36, 36), (0, 0), (0, 0), (0, 5),
    )  # fmt: skip
    assert dram.tensors["Z"].updates == Accesses(65536, 65536, 0, 0)


def test_throttling_and_reductions() -> None:
    found = parse_stats(stats_text("crisp14-b32-conv4-3x3"), "crisp")
    assert (found.level("SMEM").cycles, found.level("SMEM").throttling) == (129930, 0.57)
    assert (found.level("DRAM").cycles, found.level("DRAM").throttling) == (76613, 0.96)
    assert found.compute.cycles == 73728
    assert found.level("RF").tensors["Z"].temporal_reductions == 1163264
    assert found.level("RF").tensors["Z"].energy_pJ == 14690018.92


def test_line_ends_do_not_matter() -> None:
    text = stats_text("stc24-conv5-1x1")
    assert parse_stats(text.replace("\n", "\r\n"), "s") == parse_stats(text, "s")


def test_networks_count_though_they_are_no_level() -> None:
    text = stats_text("dense-conv5-1x1").replace("= 2589.43", "= 2600.00")
    assert parse_stats(text, "s").energy_uJ == pytest.approx(2600.00 * 67108864 / 1e9)


def test_reduction_address_and_leakage_energies_count() -> None:
    whole = stats_text("dense-conv5-1x1")
    text = whole.replace(
        "Leakage energy (total)          : 0.00", "Leakage energy (total)          : 1000.00", 1
    ).replace(
        "Address Generation Energy (total)        : 0.00",
        "Address Generation Energy (total): 50.0",
        1,
    )
    before, after = parse_stats(whole, "s").level("LRF"), parse_stats(text, "s").level("LRF")
    assert after.energy_pJ == pytest.approx(before.energy_pJ + 1050, rel=1e-12)
    assert after.tensors["A"].energy_pJ == pytest.approx(before.tensors["A"].energy_pJ + 50)


@pytest.mark.parametrize("case", GOLDEN)
def test_every_truncation_is_one_sentence(case: str) -> None:
    text = stats_text(case)
    summary = text.index("Total          =")
    for end in range(0, summary + 10, 499):
        with pytest.raises(StatsError, match=r"timeloop-model\.stats\.txt") as caught:
            parse_stats(text[:end], "s")
        assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Scalar reads (per-instance)              : 262144", "", "lacks 'Scalar reads"),
        ("Cycles: 262144", "Cycles: many", "'Cycles' is 'many', not a count"),
        ("Energy (total)          : 25736249.34 pJ", "Energy (total): -nan pJ", "not a number"),
        ("Utilized capacity                        : 32768", "Utilized capacity :", "not a count"),
    ],
)
def test_damage_is_named(old: str, new: str, message: str) -> None:
    text = stats_text("dense-conv5-1x1")
    assert old in text
    with pytest.raises(StatsError, match=message):
        parse_stats(text.replace(old, new), "s", where="x.txt")
