"""What the paper claims of its hardware, and what rows of one setting say to each claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from crisp_loop.report.totals import geomean
from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS, UNJUDGED, Claim, Outcome
from crisp_loop.reproduce.hardware.shapes import early, late

HARDWARE = "Sec. IV-B, Hardware Performance"
MOST = 0.75
"""Share of the shapes that have to agree with what is said of all of them."""
NEAR = 0.1
"""How far outside a range that the paper gives roughly a value may lie, relative to its end."""
CRISP, NVIDIA, DSTC = "crisp-stc", "nvidia-stc", "dstc"
Rows = pd.DataFrame


@dataclass(frozen=True)
class HardwareClaim:
    """A claim, and how the rows of one setting are asked about it."""

    key: str
    """A short name, for tables over settings."""
    claim: Claim
    ask: Callable[[Claim, Rows], Outcome]
    """The rows are those of :func:`crisp_loop.reproduce.hardware.shapes.shapes`."""

    def judged(self, rows: Rows) -> Outcome:
        """What ``rows`` say."""
        return self.ask(self.claim, rows)


def of(rows: Rows, design: str, nm: str | None = None, block: int | None = 64) -> Rows:
    """The rows of one design, at one pattern and block or at any."""
    wanted = rows["accelerator"] == design
    if nm is not None:
        wanted &= rows["nm"] == nm
    if block is not None:
        wanted &= rows["B"] == block
    return rows.loc[wanted]


def _span(values: pd.Series) -> tuple[float, ...]:
    low, high = float(values.min()), float(values.max())
    return (low,) if low == high else (low, high)


def _nothing(claim: Claim) -> Outcome:
    return Outcome(claim, UNJUDGED, remark="Not measured at this setting.")


def _speedup_range(nm: str) -> Callable[[Claim, Rows], Outcome]:
    """Speed-ups of CRISP-STC at one pattern lie in a range, roughly."""

    def ask(claim: Claim, rows: Rows) -> Outcome:
        found = of(rows, CRISP, nm)["speedup"]
        if found.empty:
            return _nothing(claim)
        assert claim.low is not None
        assert claim.high is not None
        near = found.between(claim.low * (1 - NEAR), claim.high * (1 + NEAR))
        verdict = FOLLOWS if near.mean() >= MOST else DIFFERS
        below, above = (found < claim.low).sum(), (found > claim.high).sum()
        remark = (
            f"{nm}, blocks of 64: {near.sum()} of {len(found)} shapes within a tenth of the range,"
            f" geometric mean {geomean(found):.2f} x; {below} below it, {above} above."
        )
        return Outcome(claim, verdict, _span(found), remark=remark)

    return ask


def _sparser_is_faster(claim: Claim, rows: Rows) -> Outcome:
    found = [of(rows, CRISP, nm)["speedup"] for nm in ("1:4", "2:4", "3:4")]
    if any(speedups.empty for speedups in found):
        return _nothing(claim)
    means = [geomean(speedups) for speedups in found]
    steps = (means[0] / means[1], means[1] / means[2])
    verdict = FOLLOWS if min(steps) >= 1.05 else DIFFERS
    told = ", ".join(f"{mean:.2f} x" for mean in means)
    remark = (
        f"1:4 over 2:4 and 2:4 over 3:4, geometric means over the shapes ({told}); at equal"
        " sparsity all three have the same work, but for whole blocks."
    )
    return Outcome(claim, verdict, tuple(sorted(steps)), remark=remark)


def _at_most(column: str) -> Callable[[Claim, Rows], Outcome]:
    """No shape of NVIDIA-STC gains more than the claim's limit."""

    def ask(claim: Claim, rows: Rows) -> Outcome:
        found = of(rows, NVIDIA)[column]
        if found.empty:
            return _nothing(claim)
        verdict = FOLLOWS if claim.distance(float(found.max())) == 0 else DIFFERS
        return Outcome(claim, verdict, _span(found), remark="All shapes and patterns measured.")

    return ask


def _dstc_early(claim: Claim, rows: Rows) -> Outcome:
    found = early(of(rows, DSTC))["speedup"]
    if found.empty:
        return _nothing(claim)
    inside = found.map(claim.distance) == 0
    remark = f"Stages 1 and 2: {inside.sum()} of {len(found)} rows in the range."
    return Outcome(
        claim, FOLLOWS if inside.mean() >= MOST else DIFFERS, _span(found), remark=remark
    )


def _dstc_late(claim: Claim, rows: Rows) -> Outcome:
    """Later layers reach less than the early layers' least."""
    first, last = early(of(rows, DSTC))["speedup"], late(of(rows, DSTC))["speedup"]
    if first.empty:
        return _nothing(claim)
    verdict = FOLLOWS if (last < claim.high).mean() >= MOST else DIFFERS  # type: ignore[operator]
    remark = (
        f"Stage 4: {(last < claim.high).sum()} of {len(last)} rows below the early layers' 3 x;"
        f" geometric mean {geomean(last):.2f} x against {geomean(first):.2f} x in stages 1 and 2."
    )
    return Outcome(claim, verdict, _span(last), remark=remark)


def _dstc_waits(claim: Claim, rows: Rows) -> Outcome:
    last = late(of(rows, DSTC))
    if last.empty:
        return _nothing(claim)
    waits = last["bottleneck"].isin(["DRAM", "SMEM"])
    remark = f"{waits.sum()} of {len(last)} rows of stage 4 wait for a memory."
    share = float(100 * waits.mean())
    return Outcome(claim, FOLLOWS if waits.mean() > 0.5 else DIFFERS, (share,), remark=remark)


def _fastest(claim: Claim, rows: Rows) -> Outcome:
    ours = of(rows, CRISP).set_index(["nm", "layer"])["speedup"]
    others = [of(rows, name).set_index(["nm", "layer"])["speedup"] for name in (NVIDIA, DSTC)]
    best = pd.concat(others, axis=1).dropna().max(axis=1)
    compared = ours.reindex(best.index).dropna()
    if compared.empty:
        return _nothing(claim)
    wins = compared > best.loc[compared.index].clip(lower=1)
    lost = wins.index[~wins].get_level_values("layer").unique()
    remark = f"{wins.sum()} of {len(wins)} rows (blocks of 64)."
    if len(lost):
        remark += f" Not: {', '.join(lost)}."
    share = float(100 * wins.mean())
    return Outcome(claim, FOLLOWS if wins.all() else DIFFERS, (share,), remark=remark)


def _best_block(column: str) -> Callable[[Claim, Rows], Outcome]:
    """Blocks of 64 are at least as good as the others, to 1 %."""

    def ask(claim: Claim, rows: Rows) -> Outcome:
        ours = of(rows, CRISP, block=None)
        table = ours.pivot_table(index=["nm", "layer"], columns="B", values=column)
        if set(table.columns) != {16, 32, 64}:
            return _nothing(claim)
        wins = table[64] >= 0.99 * table.max(axis=1)
        kept = ours.pivot_table(index=["nm", "layer"], columns="B", values="weight_density")
        fair = kept[64] <= 1.01 * kept.min(axis=1)
        remark = (
            f"{wins.sum()} of {len(wins)} shapes and patterns;"
            f" {(wins & fair).sum()} of the {fair.sum()} in which 64 rounds to as few weights as"
            " any other block does."
        )
        share = float(100 * wins.mean())
        return Outcome(claim, FOLLOWS if wins.mean() >= MOST else DIFFERS, (share,), remark=remark)

    return ask


def _energy(claim: Claim, rows: Rows) -> Outcome:
    ours = of(rows, CRISP, block=None)
    if ours.empty:
        return _nothing(claim)
    best = ours.iloc[int(ours["energy_gain"].to_numpy().argmax())]
    verdict = FOLLOWS if claim.distance(float(best["energy_gain"])) == 0 else DIFFERS
    remark = (
        f"Largest of all: {best['layer']} at {best['nm']}, B = {best['B']} and"
        f" {1 / best['weight_density']:.1f} times fewer weights, {best['speedup']:.1f} x as fast."
    )
    return Outcome(claim, verdict, (float(best["energy_gain"]),), remark=remark)


def _dstc_energy(claim: Claim, rows: Rows) -> Outcome:
    index = ["nm", "layer"]
    theirs = of(rows, DSTC).set_index(index)["energy_uJ"]
    ours = of(rows, CRISP).set_index(index)["energy_uJ"].reindex(theirs.index)
    ratio = (theirs / ours).dropna()
    if ratio.empty:
        return _nothing(claim)
    more = (ratio > 1).sum()
    remark = (
        f"DSTC's energy over CRISP-STC's, geometric mean; more in {more} of {len(ratio)} rows"
        f" ({ratio.min():.2f} to {ratio.max():.2f})."
    )
    mean = geomean(ratio)
    return Outcome(claim, FOLLOWS if mean > 1 else DIFFERS, (mean,), remark=remark)


CLAIMS: Sequence[HardwareClaim] = (
    HardwareClaim(
        "1:4 speed",
        Claim("CRISP-STC is 7-14x as fast as dense at 1:4", HARDWARE, 7, 14, "x"),
        _speedup_range("1:4"),
    ),
    HardwareClaim(
        "2:4 speed",
        Claim("CRISP-STC is 5-12x as fast as dense at 2:4", HARDWARE, 5, 12, "x"),
        _speedup_range("2:4"),
    ),
    HardwareClaim(
        "3:4 speed",
        Claim("CRISP-STC is 2-8x as fast as dense at 3:4", HARDWARE, 2, 8, "x"),
        _speedup_range("3:4"),
    ),
    HardwareClaim(
        "sparser faster",
        Claim("1:4 is faster than 2:4, and 2:4 than 3:4", HARDWARE, 1.05, None, "x"),
        _sparser_is_faster,
    ),
    HardwareClaim(
        "fastest",
        Claim("CRISP-STC consistently outperforms all three baselines", HARDWARE, 100, 100, "%"),
        _fastest,
    ),
    HardwareClaim(
        "STC speed",
        Claim("NVIDIA-STC achieves up to 2x speed-up, even at 1:4", HARDWARE, None, 2, "x"),
        _at_most("speedup"),
    ),
    HardwareClaim(
        "STC energy",
        Claim("NVIDIA-STC achieves up to 2x energy efficiency", HARDWARE, None, 2, "x"),
        _at_most("energy_gain"),
    ),
    HardwareClaim(
        "DSTC early",
        Claim("DSTC is 3-8x as fast as dense in the first layers", HARDWARE, 3, 8, "x"),
        _dstc_early,
    ),
    HardwareClaim(
        "DSTC late",
        Claim("DSTC fails to maintain that in later layers", HARDWARE, None, 3, "x"),
        _dstc_late,
    ),
    HardwareClaim(
        "DSTC waits",
        Claim("... where data movement becomes its bottleneck", HARDWARE, 50, 100, "%"),
        _dstc_waits,
    ),
    HardwareClaim(
        "B speed",
        Claim("A block size of 64 is fastest", HARDWARE, 100 * MOST, 100, "%"),
        _best_block("speedup"),
    ),
    HardwareClaim(
        "B energy",
        Claim("A block size of 64 takes the least energy", HARDWARE, 100 * MOST, 100, "%"),
        _best_block("energy_gain"),
    ),
    HardwareClaim(
        "30x energy",
        Claim("CRISP takes up to 30x less energy than dense", HARDWARE, 30, None, "x"),
        _energy,
    ),
    HardwareClaim(
        "DSTC energy",
        Claim("DSTC spends a significant amount of energy", HARDWARE, 1, None, "x"),
        _dstc_energy,
    ),
)
"""In the paper's order, but for energy, which comes last."""
