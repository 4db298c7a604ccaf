"""Prune at every choice, price each result on the designs, and keep what no other choice beats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.figures import STYLE, save_figure
from crisp_loop.core.files import validated, write_text
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.pareto.figure import draw_pareto
from crisp_loop.pareto.front import on_front
from crisp_loop.pareto.request import ParetoRequest
from crisp_loop.pipeline.designs import with_baseline
from crisp_loop.pipeline.experiment import PRUNE, experiment_of
from crisp_loop.report.export import as_markdown
from crisp_loop.report.grid import Grid, Head, grid_of
from crisp_loop.specs.run import BASELINE
from crisp_loop.sweep import Sweep, SweepOptions, read_points, run_sweep
from crisp_loop.sweep.plan import DESIGNS

CHOICE = ["accelerator", "nm", "block", "sparsity"]
COLUMN = {"edp": "edp", "cycles": "cycles", "energy": "energy_uJ"}
RATIOS = {"speedup": "cycles", "energy_gain": "energy_uJ", "edp_gain": "edp"}
HEADS = (
    Head("accelerator", "design", number=False),
    Head("nm", "N:M", number=False),
    Head("block", "B"),
    Head("sparsity", "kappa", "{:g}".format),
    Head("accuracy", "accuracy", "{:.1%}".format),
    Head("speedup", "speed-up", "{:.2f}x".format),
    Head("energy_gain", "energy gain", "{:.2f}x".format),
    Head("edp_gain", "EDP gain", "{:.1f}x".format),
    Head("best", "of all designs", lambda best: "yes" if best else "", number=False),
)
CSV, MARKDOWN, FIGURES = "pareto.csv", "pareto.md", ("pareto.png", "pareto.svg")


@dataclass(frozen=True, eq=False)
class Pareto:
    """What a trade-off study came to."""

    choices: pd.DataFrame
    """One row a design and choice: accuracy and costs (means over the seeds), ratios over dense,
    and whether it is on its design's front (``front``) and on that of all designs (``best``)."""
    dense_accuracy: float
    """Of the dense network, fine-tuned where that was asked for: mean over the seeds."""
    cost: str
    files: tuple[Path, ...]

    @property
    def front(self) -> Grid:
        """The choices on their design's front, by design and from the cheapest."""
        shown = self.choices.loc[self.choices["front"]]
        return grid_of(shown.sort_values(by=["accelerator", COLUMN[self.cost]]), HEADS)


def find_pareto(
    request: ParetoRequest,
    out: Path,
    options: SweepOptions | None = None,
    progress: Progress | None = None,
    where: Path | str = "pareto",
) -> Pareto:
    """Prune and price every choice that is not known yet, and find the fronts.

    Writes ``pareto.csv``, ``pareto.md``, ``pareto.png`` and ``pareto.svg``; the sweep's dataset
    lies in ``points/`` beside them, and what is pruned is never pruned again.

    Args:
        request: The choices.
        out: The results directory.
        options: How the sweep runs.
        progress: Who hears of it.
        where: The experiment's file, for messages.

    Raises:
        CrispLoopError: values that no choice can use, or no choice that could be pruned.
    """
    progress = progress or Quiet()
    if request.left_out:
        progress.note(f"Left out, as the pattern alone removes more: {', '.join(request.left_out)}")
    sweep = sweep_of(request, where)
    summary = run_sweep(sweep, out, options or SweepOptions(), progress, where)
    points = read_points(out)
    sound = points.loc[points["failure"].isna()]
    if sound.empty:
        why = next(iter(summary.failures), "no combination of pattern and sparsity is possible")
        raise CrispLoopError(f"pareto: no choice could be pruned: {why.rstrip('.')}.")
    choices = _choices(sound, request)
    upper = sound["accuracy_finetuned"].fillna(sound["accuracy_dense"])
    files = (out / CSV, out / MARKDOWN, *(out / name for name in FIGURES))
    result = Pareto(choices, float(upper.mean()), request.cost, files)
    write_text(files[0], choices.to_csv(index=False, lineterminator="\n"))
    write_text(files[1], _page(result, request))
    with mpl.rc_context(STYLE):
        save_figure(draw_pareto(result.choices, result.dense_accuracy, request.cost), files[2:])
    return result


def sweep_of(request: ParetoRequest, where: Path | str = "pareto") -> Sweep:
    """The study's points: each pattern with its sparsities, on every design and the baseline.

    Raises:
        CrispLoopError: an experiment that says what it cannot, or no choice that could be.
    """
    given = {"masks": PRUNE, **request.experiment, "name": "", "accelerators": request.accelerators}
    checked = experiment_of(given, {}, where)
    if checked.masks != PRUNE:
        raise InputError(where, "masks", checked.masks, f"accuracy needs masks: {PRUNE}")
    first = checked.prune.seed
    grids: list[Mapping[str, Any]] = [
        {
            "nm": str(nm),
            "block": list(request.block),
            "sparsity": list(kappas),
            "seed": [first + step for step in range(request.seeds)],
            "accelerator": list(with_baseline(request.accelerators)),
            "arch": [{path: [value] for path, value in checked.arch.items()}],
        }
        for nm, kappas in request.patterns()
    ]
    if not grids:
        raise CrispLoopError(
            f"pareto: no pattern can have these sparsities: {', '.join(request.left_out)}."
        )
    shared = {key: value for key, value in given.items() if key not in DESIGNS}
    return validated({"name": "pareto", "experiment": shared, "grid": grids}, Sweep, where)


def _choices(points: pd.DataFrame, request: ParetoRequest) -> pd.DataFrame:
    """Means over the seeds, ratios over the baseline, and the fronts."""
    means = {name: (name, "mean") for name in ("accuracy", "cycles", "energy_uJ", "edp")}
    table = pd.DataFrame(
        points.groupby(CHOICE, sort=False, as_index=False).agg(
            **means,
            accuracy_error=("accuracy", "sem"),
            weight_sparsity=("weight_sparsity", "mean"),
            seeds=("accuracy", "size"),
        )
    )
    dense = table.loc[table["accelerator"] == BASELINE, [*CHOICE[1:], *RATIOS.values()]]
    table = table.merge(dense, on=CHOICE[1:], suffixes=("", "_dense"))
    for ratio, column in RATIOS.items():
        table[ratio] = table.pop(f"{column}_dense") / table[column]
    asked = table.loc[table["accelerator"].isin(request.accelerators)].reset_index(drop=True)
    column = COLUMN[request.cost]
    asked["front"] = False
    for design in request.accelerators:
        mine = asked["accelerator"] == design
        asked.loc[mine, "front"] = on_front(asked.loc[mine, "accuracy"], asked.loc[mine, column])
    asked["best"] = on_front(asked["accuracy"], asked[column])
    return asked


def _page(result: Pareto, request: ParetoRequest) -> str:
    """The choices on a front, as a table in order of cost."""
    return (
        f"# Accuracy against {request.cost}\n\n"
        "Choices that no other one of their design beats; gains over dense, whose accuracy is"
        f" {100 * result.dense_accuracy:.1f} %. Mean over {request.seeds} seed(s).\n\n"
        f"![Accuracy against {request.cost}]({FIGURES[0]})\n\n"
        f"{as_markdown(result.front)}\n"
    )
