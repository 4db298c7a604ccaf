"""``crisp-loop``: prune a network for the classes one user sees, and price what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter

from crisp_loop import __version__
from crisp_loop.cli.console import Bars, err, fail, out, told_in_one_sentence
from crisp_loop.cli.tables import (
    NetworkRow,
    doctor_table,
    evaluation_table,
    layers_table,
    networks_table,
    packing_table,
    pruning_table,
)
from crisp_loop.core.files import is_file

if TYPE_CHECKING:
    from crisp_loop.pipeline import Experiment
    from crisp_loop.report.run import Report

app = typer.Typer(
    name="crisp-loop",
    help=(
        "Prune a network for the classes that one user sees (CRISP), lower it to Sparseloop specs"
        " for tensor-core designs, and say in cycles and microjoules what the pruning is worth."
    ),
    epilog="Start with: crisp-loop eval",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

ExperimentFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="EXPERIMENT.yaml", help="Experiment file; without one, the digits experiment."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Results directory. \\[default: runs/<name>]"),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME", help="Network, such as resnet50 (see crisp-loop layers)."
    ),
]
Nm = Annotated[
    str | None, typer.Option("--nm", metavar="N:M", help="1:4, 2:4 or 3:4. \\[default: 2:4]")
]
Block = Annotated[
    int | None, typer.Option("--block", "-B", metavar="B", help="16, 32 or 64. \\[default: 16]")
]
Sparsity = Annotated[
    float | None,
    typer.Option(
        "--sparsity", "-s", metavar="KAPPA", help="Share of weights to remove. \\[default: 0.9]"
    ),
]
Accelerators = Annotated[
    str | None,
    typer.Option(
        "--accelerator",
        "-a",
        metavar="NAMES",
        help="Designs, comma-separated: dense,crisp-stc. \\[default: all four]",
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        "-e",
        metavar="ENGINE",
        help="auto, analytic, analytic-exact, timeloop or docker. \\[default: auto]",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-j", metavar="N", min=1, help="Processes. \\[default: all cores]"),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.1,
        help="Time for one spec on timeloop or docker. \\[default: 600]",
    ),
]
ObjectiveName = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="NAME",
        help="What mappings minimise: cycles-energy (fewest cycles, within 1 % of them least"
        " energy), cycles, energy or edp. \\[default: cycles-energy]",
    ),
]
MapperName = Annotated[
    str | None,
    typer.Option(
        "--mapper",
        metavar="NAME",
        help="Who searches mappings: analytic (exact), or timeloop for the native timeloop-mapper."
        " \\[default: analytic]",
    ),
]
MapperSeconds = Annotated[
    float | None,
    typer.Option(
        "--mapper-seconds",
        metavar="S",
        help="Time of timeloop-mapper for a GEMM and design. \\[default: 30]",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", metavar="IDS", help="The user's classes, comma-separated: 1,4,7."),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="digits, cifar10:PATH, cifar100:PATH or folder:PATH. \\[default: digits]",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights", metavar="FILE", help="Trained weights (.safetensors, .pth), no training."
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="crisp, or a baseline: blocks, nm, unstructured, channel, ocap, capnn, dense."
        " \\[default: crisp]",
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change a field of the designs, the baseline's too: SMEM.read_bandwidth=42; of one"
        " alone: dstc/SMEM.metadata.depth=10922. May be given several times.",
    ),
]
Batch = Annotated[
    int | None, typer.Option("--batch", metavar="INPUTS", help="Inputs at once. \\[default: 1]")
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Seed of everything random. \\[default: 0]")
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(f"crisp-loop {__version__}", highlight=False)
        raise typer.Exit


@app.command("eval")
@told_in_one_sentence
def evaluate(
    experiment: ExperimentFile = None,
    model: Model = None,
    data: Data = None,
    weights: Weights = None,
    method: Method = None,
    nm: Nm = None,
    block: Block = None,
    sparsity: Sparsity = None,
    accelerators: Accelerators = None,
    objective: ObjectiveName = None,
    mapper: MapperName = None,
    mapper_seconds: MapperSeconds = None,
    engine: EngineName = None,
    changes: Changes = None,
    batch: Batch = None,
    classes: Classes = None,
    seed: Seed = None,
    timeout: Timeout = None,
    out_dir: Out = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Print the per-layer table too.")
    ] = False,
) -> None:
    """Run a whole experiment: prune, pack, lower, map, render, price, report.

    Options override the experiment file. [b]--model[/] of a network without shipped weights draws
    masks at the pattern:

    crisp-loop eval --model resnet50 --nm 2:4 --block 64 --sparsity 0.9
    """
    from crisp_loop.pipeline import run_experiment
    from crisp_loop.pipeline.experiment import PRUNE
    from crisp_loop.pipeline.run import read_summary

    pattern = {"method": method, "nm": nm, "block": block, "sparsity": sparsity, "seed": seed}
    chosen = _experiment(
        experiment,
        pattern,
        accelerators,
        network=model,
        data=data,
        weights=weights,
        objective=objective,
        mapper=mapper,
        mapper_seconds=mapper_seconds,
        engine=engine,
        arch=_changes(changes),
        batch=batch,
        user_classes=_listed(classes),
    )
    target = _directory(out_dir, chosen.run_name)
    results = run_experiment(chosen, target, Bars(), timeout)
    if chosen.masks == PRUNE:
        out.print(pruning_table(read_summary(target)))
    _show(results, layers)


@app.command()
@told_in_one_sentence
def prune(
    experiment: ExperimentFile = None,
    model: Model = None,
    data: Data = None,
    weights: Weights = None,
    method: Method = None,
    nm: Nm = None,
    block: Block = None,
    sparsity: Sparsity = None,
    classes: Classes = None,
    seed: Seed = None,
    out_dir: Out = None,
) -> None:
    """Train a network on its data set and prune it with CRISP for the user's classes."""
    from crisp_loop.pipeline.run import prune_experiment

    pattern = {"method": method, "nm": nm, "block": block, "sparsity": sparsity, "seed": seed}
    chosen = _experiment(
        experiment,
        pattern,
        network=model,
        data=data,
        weights=weights,
        user_classes=_listed(classes),
    )
    target = _directory(out_dir, chosen.run_name)
    out.print(pruning_table(prune_experiment(chosen, target, Bars())))
    out.print(f"Weights and masks: {target}/prune", highlight=False)


@app.command()
@told_in_one_sentence
def reprune(
    earlier: Annotated[
        Path, typer.Argument(metavar="RUN", help="Results directory of an earlier pruning.")
    ],
    classes: Annotated[
        str, typer.Option("--classes", metavar="IDS", help="The classes of now: 2,4,7.")
    ],
    start: Annotated[
        str,
        typer.Option(
            "--start",
            metavar="NETWORK",
            help="personalised: kept weights go on from the earlier run; dense: begin anew.",
        ),
    ] = "personalised",
    nm: Nm = None,
    block: Block = None,
    sparsity: Sparsity = None,
    seed: Seed = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Results. \\[default: RUN-classes-2-4-7]"),
    ] = None,
) -> None:
    """Prune the network of an earlier run for other classes; say what was kept, lost, regrown.

    crisp-loop reprune runs/digits --classes 2,4,7
    """
    from crisp_loop.cli.tables import reprune_table
    from crisp_loop.pipeline.run import reprune_run

    ids = _listed(classes) or []
    target = _directory(out_dir or earlier.with_name(f"{earlier.name}-classes-{'-'.join(ids)}"), "")
    pattern = {"nm": nm, "block": block, "sparsity": sparsity, "seed": seed}
    change, summary = reprune_run(earlier, ids, target, start, _given(pattern), Bars())
    out.print(reprune_table(change, summary))
    out.print(f"Weights and masks: {target}/prune", highlight=False)


@app.command()
@told_in_one_sentence
def pack(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS.safetensors", help="State dict.")],
    masks: Annotated[Path, typer.Argument(metavar="MASKS.safetensors", help="Mask file.")],
    out_dir: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the packed file goes.")
    ] = Path("packed"),
) -> None:
    """Store pruned weights as Blocked-ELLPACK indices and N:M offsets, and count the bits."""
    from crisp_loop.pack.run import pack_masks

    out.print(packing_table(pack_masks(weights, masks, _directory(out_dir, ""), Bars())))
    out.print(f"Packed: {out_dir}", highlight=False)


@app.command()
@told_in_one_sentence
def formats(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAMES",
            help="Networks, comma-separated. \\[default: resnet50,vgg16,mobilenetv2]",
        ),
    ] = None,
    nm: Nm = None,
    block: Annotated[
        int | None, typer.Option("--block", "-B", metavar="B", help="Block side. \\[default: 64]")
    ] = None,
    sparsity: Annotated[
        str | None,
        typer.Option(
            "--sparsity", "-s", metavar="KAPPAS", help="Comma-separated. \\[default: 0.5 to 0.95]"
        ),
    ] = None,
    indivisible: Annotated[
        str,
        typer.Option(
            "--indivisible", metavar="HOW", help="Layers that B does not divide: pad, or nm alone."
        ),
    ] = "pad",
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="FILE", help="Count a mask file's layers instead."),
    ] = None,
    seed: Seed = None,
    out_dir: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where tables and figure go.")
    ] = Path("runs/formats"),
) -> None:
    """Compare the storage of sparse formats over networks: the metadata that each one needs.

    Masks are drawn at the pattern; CSR and ELLPACK hold unstructured masks of as many weights too,
    which is the paper's comparison.

    crisp-loop formats --model resnet50 --nm 2:4 --block 64 --sparsity 0.5,0.9
    """
    from crisp_loop.cli.compared import comparison_of, comparison_table
    from crisp_loop.pack.compare import FIGURE_FILES, write_comparison
    from crisp_loop.pack.comparison_figure import draw_comparison

    target = _directory(out_dir, "")
    pattern = {"model": _listed(model), "nm": nm, "block": block, "sparsity": _listed(sparsity)}
    compared = comparison_of(_given(pattern), indivisible, masks, seed or 0, Bars())
    files = [*write_comparison(compared, target), *(target / name for name in FIGURE_FILES)]
    draw_comparison(compared, files[2:])
    out.print(comparison_table(compared))
    for file in files:
        out.print(f"  {file}", style="dim", highlight=False)


@app.command("map")
@told_in_one_sentence
def map_layers(
    experiment: ExperimentFile = None,
    model: Model = None,
    nm: Nm = None,
    block: Block = None,
    sparsity: Sparsity = None,
    accelerators: Accelerators = None,
    objective: ObjectiveName = None,
    mapper: MapperName = None,
    mapper_seconds: MapperSeconds = None,
    changes: Changes = None,
    batch: Batch = None,
    seed: Seed = None,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="LAYER", help="Show this layer's loop nests instead."),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="Library of mapping files to add to."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Search even where the package has a mapping.")
    ] = False,
    out_dir: Out = None,
) -> None:
    """Find the best mapping of each layer on each design, and say why it wins.

    The search is exact: no mapping that the design's dataflow allows is better by the analytic
    engine.

    crisp-loop map --model resnet50 --block 64 -a crisp-stc --layer layer3.1.conv2
    """
    from crisp_loop.cli.mapped import explained, mapping_table
    from crisp_loop.mapping.library import merge_into
    from crisp_loop.pipeline.run import explain_experiment, map_experiment

    pattern = {"nm": nm, "block": block, "sparsity": sparsity, "seed": seed}
    search = {"objective": objective, "mapper": mapper, "mapper_seconds": mapper_seconds}
    designs = {"arch": _changes(changes), "batch": batch}
    chosen = _experiment(experiment, pattern, accelerators, network=model, **search, **designs)
    target = _directory(out_dir, chosen.run_name)
    found = map_experiment(chosen, target, Bars(), fresh)
    explanations = explain_experiment(chosen, target)
    if layer is not None:
        for tree in explained(layer, explanations):
            out.print(tree)
    else:
        for name in found:
            mine = [each for each in explanations if each.accelerator == name]
            out.print(mapping_table(name, mine))
    for each in found.values() if into else ():
        merged = merge_into(_directory(into, ""), each)
        out.print(f"{into}/{each.accelerator}.yaml: {len(merged.mappings)} mappings")


@app.command()
@told_in_one_sentence
def specs(
    experiment: ExperimentFile = None,
    layers: Annotated[
        Path | None,
        typer.Option(
            "--layers",
            metavar="FILE",
            help="Layers of your own instead of a network: a list (.yaml, .csv, .json), .onnx, or"
            " Timeloop problem files (.yaml, a directory of them).",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="FILE", help="With --layers: masks instead of drawn ones."),
    ] = None,
    model: Model = None,
    nm: Nm = None,
    block: Block = None,
    sparsity: Sparsity = None,
    accelerators: Accelerators = None,
    objective: ObjectiveName = None,
    mapper: MapperName = None,
    mapper_seconds: MapperSeconds = None,
    changes: Changes = None,
    seed: Seed = None,
    out_dir: Out = None,
) -> None:
    """Render Sparseloop specs, one directory a layer and design, with a mapping for each.

    crisp-loop specs --layers layers.yaml -a crisp-stc,dstc --nm 1:4 --block 32 --sparsity 0.92
    """
    from crisp_loop.pipeline.request import spec_request
    from crisp_loop.pipeline.run import layer_specs, prepare_specs

    search = {"objective": objective, "mapper": mapper, "mapper_seconds": mapper_seconds}
    search["arch"] = _changes(changes)
    pattern = {"nm": nm, "block": block, "sparsity": sparsity, "seed": seed}
    if layers is not None:
        if experiment is not None or model is not None:
            fail("--layers: layers come from one place; leave out the experiment and --model.")
        options = {"accelerators": _listed(accelerators), **search, **pattern}
        target = _directory(out_dir, f"{layers.stem}-specs")
        run = layer_specs(layers, spec_request(_given(options)), masks, target, Bars())
    else:
        if masks is not None:
            fail("--masks: masks go with --layers; an experiment names its own.")
        chosen = _experiment(experiment, pattern, accelerators, network=model, **search)
        run = prepare_specs(chosen, _directory(out_dir, chosen.run_name), Bars())
    out.print(f"Specs: {run.specs}", highlight=False)
    out.print(f"Price one with: crisp-loop cost {run.specs}/DESIGN/LAYER", highlight=False)


@app.command()
@told_in_one_sentence
def cost(
    specs: Annotated[
        list[Path],
        typer.Argument(
            metavar="SPEC...", help="YAML files with all sections, or directories of section files."
        ),
    ],
    engine: EngineName = "auto",
    timeout: Timeout = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every figure of every level as JSON.")
    ] = False,
) -> None:
    """Price rendered or hand-written Sparseloop specs in cycles and microjoules."""
    from crisp_loop.core.evaluation import Evaluation
    from crisp_loop.cost.run import evaluate_specs

    evaluations = evaluate_specs(specs, engine=engine or "auto", progress=Bars(), timeout_s=timeout)
    if as_json:
        print(TypeAdapter(list[Evaluation]).dump_json(evaluations, indent=1).decode())
    else:
        out.print(evaluation_table(evaluations))


@app.command()
@told_in_one_sentence
def energy(
    accelerators: Annotated[
        str | None,
        typer.Option(
            "--accelerator",
            "-a",
            metavar="NAMES",
            help="Designs, comma-separated: dense,./mine.yaml. \\[default: all that ship]",
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Leave Accelergy alone, even where it is on PATH.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Fail unless Accelergy is there and says the same."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask Accelergy anew, not its kept answers.")
    ] = False,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Write ERT, ART, Accelergy's inputs and a CSV there."
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="DIR",
            help="Instead: make the tables of arch/energy anew, with Accelergy and CACTI.",
        ),
    ] = None,
) -> None:
    """Say where every picojoule of a design comes from, with Accelergy's answer beside it.

    crisp-loop energy -a crisp-stc,./mine.yaml --out energies
    """
    from crisp_loop.accelerators import available
    from crisp_loop.cli.energies import energy_table
    from crisp_loop.energy.accelergy import Accelergy, kept_answers
    from crisp_loop.energy.record import record_tables
    from crisp_loop.energy.run import price_designs

    if offline and (check or record):
        fail("--offline: --check and --record need Accelergy; leave one out.")
    if record is not None:
        for file in record_tables(_directory(record, ""), Bars()):
            out.print(f"  {file}", style="dim", highlight=False)
        return
    tool = None
    if not offline and (check or Accelergy.on_path()):
        tool = Accelergy.find()
    report = price_designs(
        _listed(accelerators) or available(),
        tool,
        keep=None if fresh else kept_answers(),
        out_dir=_directory(out_dir, "") if out_dir else None,
        progress=Bars(),
    )
    out.print(energy_table(report))
    for file in report.files:
        out.print(f"  {file}", style="dim", highlight=False)
    for problem in report.problems:
        err.print(problem, style="yellow", highlight=False, markup=False)
    if check and report.problems:
        fail(f"--check: Accelergy does not say the same in {len(report.problems)} cases.")


@app.command()
@told_in_one_sentence
def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="Sweep file.")],
    workers: Workers = None,
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler",
            metavar="ADDRESS",
            help="Price on a Dask cluster: tcp://..., a scheduler file (.json), or local.",
        ),
    ] = "",
    retry: Annotated[
        bool, typer.Option("--retry", help="Try points again that failed before.")
    ] = False,
    timeout: Timeout = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many points there are, and are done.")
    ] = False,
    out_dir: Out = None,
) -> None:
    """Price a grid of networks, patterns and designs into a Parquet dataset.

    What is finished is never done again: a sweep that was stopped goes on where it was, and sweeps
    in directories beside each other share their points. Exit code 1 says that points failed; the
    column failure says why.

    crisp-loop sweep examples/sweep.yaml --workers 4
    """
    from crisp_loop.cli.swept import failures_table, told
    from crisp_loop.sweep import SweepOptions, load_sweep, run_sweep, sweep_state

    chosen = load_sweep(file)
    target = _directory(out_dir, chosen.name)
    if dry_run:
        summary = sweep_state(chosen, target, file)
    else:
        limits = _given({"workers": workers, "timeout_s": timeout})
        options = SweepOptions(scheduler=scheduler, retry=retry, **limits)
        summary = run_sweep(chosen, target, options, Bars(), file)
    if summary.failures:
        out.print(failures_table(summary))
    out.print(told(summary), highlight=False)
    if not dry_run:
        out.print(f"Results: {target}/points/*.parquet", style="dim", highlight=False)
        if summary.failed:
            raise typer.Exit(1)


@app.command()
@told_in_one_sentence
def pareto(
    experiment: ExperimentFile = None,
    model: Model = None,
    data: Data = None,
    weights: Weights = None,
    classes: Classes = None,
    nm: Annotated[
        str | None,
        typer.Option("--nm", metavar="LIST", help="N:M patterns. \\[default: 1:4,2:4,3:4]"),
    ] = None,
    block: Annotated[
        str | None,
        typer.Option("--block", "-B", metavar="LIST", help="Block sides. \\[default: 16,32]"),
    ] = None,
    sparsity: Annotated[
        str | None,
        typer.Option("--sparsity", "-s", metavar="LIST", help="\\[default: 0.8,0.9,0.95]"),
    ] = None,
    accelerators: Annotated[
        str | None,
        typer.Option(
            "--accelerator",
            "-a",
            metavar="NAMES",
            help="Designs. \\[default: nvidia-stc,dstc,crisp-stc]",
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(
            "--cost", metavar="NAME", help="Against accuracy: edp, cycles, energy. \\[default: edp]"
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", metavar="N", help="Prunings to average over. \\[default: 1]"),
    ] = None,
    workers: Workers = None,
    out_dir: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Results.")] = Path(
        "runs/pareto"
    ),
) -> None:
    """Prune at many patterns, and find those that no other beats in accuracy and cost.

    Every combination of patterns, block sides and sparsities is pruned and priced on the designs;
    what was pruned before is taken from there. The experiment says everything else.

    crisp-loop pareto --nm 2:4,1:4 --sparsity 0.8,0.9,0.95 --seeds 3 --cost energy
    """
    from crisp_loop.cli.tables import pareto_table
    from crisp_loop.pareto import find_pareto, pareto_request
    from crisp_loop.pipeline.experiment import experiment_data
    from crisp_loop.sweep import SweepOptions

    base = experiment_data(experiment)
    ids = _listed(classes)
    base |= _given({"network": model, "data": data, "weights": weights, "user_classes": ids})
    given = {
        "nm": _listed(nm),
        "block": _listed(block),
        "sparsity": _listed(sparsity),
        "accelerators": _listed(accelerators),
        "cost": cost,
        "seeds": seeds,
        "experiment": base,
    }
    request = pareto_request(_given(given))
    options = SweepOptions(**_given({"workers": workers}))
    found = find_pareto(
        request, _directory(out_dir, ""), options, Bars(), experiment or "command line"
    )
    out.print(pareto_table(found))
    for path in found.files:
        out.print(f"  {path}", style="dim", highlight=False)


@app.command()
@told_in_one_sentence
def report(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="A run's directory, or its results.csv.")
    ],
    layers: Annotated[
        bool, typer.Option("--layers/--no-layers", help="Print the per-layer table too.")
    ] = True,
    as_format: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="Print the totals as csv, md or latex."),
    ] = None,
) -> None:
    """Show a run's results; from a run's directory, write its page, tables and figure anew.

    The page is report.html, one file that needs no network. [b]--format[/] prints the totals for a
    document instead:

    crisp-loop report runs/digits --format latex > totals.tex
    """
    from crisp_loop.pipeline.run import RunDirectory, report_run
    from crisp_loop.report.export import text_format
    from crisp_loop.report.grid import totals_grid
    from crisp_loop.report.run import report_of_table

    written = None if as_format is None else text_format(as_format)
    run = RunDirectory(results)
    if is_file(results):
        found = report_of_table(results)
    elif is_file(run.manifest) and is_file(run.evaluations):
        found = report_run(run)
    else:
        fail(f"{results} is no run's directory; expected specs/manifest.json and cost/ in it.")
    if written is not None:
        print(written(totals_grid(found.totals)), end="")
    else:
        _show(found, layers)


@app.command()
@told_in_one_sentence
def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A run's directory, or its results.csv.")
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="SHARE",
            min=0,
            help="Hide rows whose cycles and energy change by no more: 0.01 is 1 %.",
        ),
    ] = 0.0,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write all rows: .csv, .md, .tex, .html."),
    ] = None,
) -> None:
    """Compare two result sets row by row: cycles, energy and ratios, the largest change first.

    Rows of one model, layer and accelerator are compared, whatever their pattern, engine or
    mapping; what differs in those is said.

    crisp-loop compare runs/digits runs/digits-14 --tolerance 0.01 --out changes.html
    """
    from crisp_loop.cli.changes import (
        rows_change,
        rows_in_words,
        settings_in_words,
        totals_change,
    )
    from crisp_loop.report.compare import check_ending, compare_results, write_comparison

    if out_file is not None:
        check_ending(out_file)
    comparison = compare_results(first, second)
    changes = rows_change(comparison, tolerance)
    if changes.row_count:
        out.print(changes)
    _say(rows_in_words(comparison, tolerance))
    out.print(totals_change(comparison))
    _say(settings_in_words(comparison))
    if out_file is not None:
        write_comparison(comparison, out_file)
        out.print(f"  {out_file}", style="dim", highlight=False)


@app.command()
@told_in_one_sentence
def reproduce(
    figures: Annotated[
        list[str],
        typer.Argument(metavar="FIGURE...", help="fig1, fig2, fig3, fig4, fig7, fig8, or all."),
    ],
    scale: Annotated[
        str,
        typer.Option(
            "--scale",
            metavar="SCALE",
            help="ci: digits and small networks, minutes. mid: a small network on --data."
            " full: the paper's networks, with --data and --weights.",
        ),
    ] = "ci",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="cifar10:PATH, cifar100:PATH or folder:PATH. \\[default: digits at ci]",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAMES",
            help="Networks instead of the scale's, comma-separated; Fig. 3 takes the first.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="PATH",
            help="Trained weights: a directory with a NETWORK.pth or .safetensors for each network,"
            " or a file for one.",
        ),
    ] = None,
    resize_head: Annotated[
        bool,
        typer.Option(
            "--resize-head", help="Start a new head where the weights have other classes."
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", metavar="RUNS", help="Runs to average. \\[default: 3; 5 at full]"),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Results. \\[default: runs/reproduce-SCALE]"
        ),
    ] = None,
) -> None:
    """Measure figures of the CRISP paper again, and say how far they are from it.

    Each figure leaves a table (CSV), a picture (SVG and PNG) and a page (Markdown) with the paper's
    claims beside what was measured; reproduce.md lists them all. Claims follow, do not follow, or
    cannot be judged at the scale. The same command goes on where it was stopped.

    fig1: models at N:M ratios. fig2: sparsity of each layer. fig3: CRISP against block pruning.
    fig4: metadata of formats. fig7: accuracy and FLOPs over the number of user classes. fig8:
    speed-up and energy of the designs. fig8-settings: the same at other bandwidths, widths, stores,
    batches and sparsities; half an hour, and no part of all.

    crisp-loop reproduce fig7

    crisp-loop reproduce fig3 --scale mid --data cifar10:cifar-10-batches-py

    crisp-loop reproduce all --scale full --data folder:imagenet-subset --weights weights/
    """
    from crisp_loop.cli.reproduced import outcomes_table
    from crisp_loop.reproduce.run import reproduce as measure
    from crisp_loop.reproduce.scale import scale_of

    options = {"name": scale, "data": data, "networks": _listed(model), "seeds": seeds}
    options |= {"weights": str(weights) if weights else None, "resize_head": resize_head}
    target = _directory(out_dir, f"reproduce-{scale}")
    done = measure(figures, scale_of(_given(options)), target, Bars())
    out.print(outcomes_table(done))
    for each in done:
        for file in each.files:
            out.print(f"  {file}", style="dim", highlight=False)


@app.command()
@told_in_one_sentence
def layers(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A network's name; none lists them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """List a network's layers with their GEMM shapes, traced from its definition.

    Attention's products of two activations are among them; they have no weights.

    Without a network, list the networks that can be named.
    """
    from crisp_loop.networks.registry import NETWORKS, network, parameters
    from crisp_loop.networks.trace import operation_table

    if model is None:
        rows = [
            NetworkRow(name, entry.input_shape, entry.classes, parameters(name))
            for name, entry in NETWORKS.items()
        ]
        if as_json:
            print(TypeAdapter(list[NetworkRow]).dump_json(rows, indent=1).decode())
        else:
            out.print(networks_table(rows))
        return
    table = operation_table(model, network(model).input_shape)
    if as_json:
        print(TypeAdapter(type(table)).dump_json(table, indent=1).decode())
    else:
        out.print(layers_table(table))


@app.command()
@told_in_one_sentence
def doctor() -> None:
    """Say which engines, tools and energy tables are usable here, and why not."""
    from crisp_loop.cost.doctor import diagnose

    out.print(doctor_table(diagnose()))


def _experiment(
    file: Path | None, prune: dict[str, Any], accelerators: str | None = None, **options: Any
) -> Experiment:
    """The experiment of a command: the file's (or the default one), with options on top."""
    from crisp_loop.pipeline import load_experiment

    given = {"prune": _given(prune) or None, "accelerators": _listed(accelerators), **options}
    return load_experiment(file, _given(given))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _listed(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text is not None else None


def _changes(given: list[str] | None) -> dict[str, Any] | None:
    """Fields of designs from FIELD=VALUE; values are read as YAML."""
    from crisp_loop.core.files import parse_yaml

    if not given:
        return None
    changes = {}
    for each in given:
        field, equals, value = each.partition("=")
        if not equals or not field:
            fail(f"--set: {each!r} is no change; expected FIELD=VALUE, as SMEM.read_bandwidth=42.")
        changes[field] = parse_yaml(value, f"--set {field}")
    return changes


def _directory(out_dir: Path | None, name: str) -> Path:
    """Where results go; refused before any work when a file stands there."""
    target = out_dir or Path("runs") / name
    if is_file(target):
        fail(f"--out: {target} is a file; expected a directory for the results.")
    return target


def _show(report: Report, layers: bool) -> None:
    from crisp_loop.report.table import layers_for_terminal, totals_for_terminal

    if layers:
        out.print(layers_for_terminal(report.results, report.baseline))
    out.print(totals_for_terminal(report.totals))
    for file in report.files:
        out.print(f"  {file}", style="dim", highlight=False)


def _say(text: str) -> None:
    """Print a note below a table, if there is any."""
    if text:
        out.print(text, style="dim", markup=False, highlight=False)


def run() -> None:
    """Entry point of the ``crisp-loop`` command."""
    app()


if __name__ == "__main__":
    run()
