"""Everything of crisp_loop that reads a file which somebody else may have written.

A new reader is one entry of :data:`READERS`: how to make a valid example in an empty directory, and
how to read it. What is broken, how, and what must then hold, is the harness's business.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from torch import nn

from crisp_loop.accelerators import load_accelerator, problem_for
from crisp_loop.core.evaluation import Evaluations
from crisp_loop.core.files import read_json, write_json
from crisp_loop.core.gemm import Gemm, Workload, dense
from crisp_loop.core.layers import Layer, LayerTable
from crisp_loop.core.mappings import read_mappings
from crisp_loop.core.masks import Masks, load_masks, save_masks
from crisp_loop.core.pattern import NM
from crisp_loop.core.progress import Quiet
from crisp_loop.cost.run import evaluate_specs, read_evaluations
from crisp_loop.cost.stats import FILE_NAME, parse_stats
from crisp_loop.cost.store import VARIABLE, ResultStore
from crisp_loop.datasets.registry import load, source_stamp
from crisp_loop.energy.accelergy import _answer as accelergys_answer
from crisp_loop.energy.record import _done as recorded_macros
from crisp_loop.layers import read_layers
from crisp_loop.lower.draw import Draw
from crisp_loop.lower.run import lower_network
from crisp_loop.mapping.run import explain_mappings, map_workload
from crisp_loop.mapping.timeloop import _directives as mappers_answer
from crisp_loop.pack.container import PackedLayer, PackedNetwork, read_packed, write_packed
from crisp_loop.pack.run import pack_masks
from crisp_loop.pareto import pareto_request
from crisp_loop.pareto.run import sweep_of
from crisp_loop.pipeline.experiment import experiment_data, load_experiment
from crisp_loop.pipeline.request import SpecRequest
from crisp_loop.pipeline.run import RunDirectory, layer_specs, report_run, spec_directories
from crisp_loop.prune.checkpoints import load_weights, read_header, save_weights
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.reprune import RepruneSummary
from crisp_loop.prune.results import LayerReport, PruneSummary, Scores
from crisp_loop.prune.training.finetune import Accuracy
from crisp_loop.prune.training.resume import Checkpoint, Snapshot
from crisp_loop.prune.training.task import IterationReport
from crisp_loop.report.compare import compare_results, write_comparison
from crisp_loop.report.export import FORMATS
from crisp_loop.report.grid import totals_grid
from crisp_loop.report.run import report_of_table
from crisp_loop.report.table import layers_for_terminal, totals_for_terminal
from crisp_loop.specs.run import write_specs
from crisp_loop.sweep import Sweep, load_sweep, read_points, run_sweep, sweep_state
from crisp_loop.sweep.dataset import read_layers as read_sweep_layers
from crisp_loop.sweep.pools import Outcome
from crisp_loop.sweep.work import Task, work

GOLDEN = Path(__file__).parents[1] / "golden"
EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Reader:
    """One way into the package."""

    name: str
    make: Callable[[Path], object]
    """Fills an empty directory with a valid example."""
    read: Callable[[Path, Path], object]
    """Reads it (the directory); may write, but only below the second argument."""
    weight: int = 1
    """Its share of the cases; less for what takes long."""


# ---- experiments, designs, mappings ----------------------------------------------------------


def _experiment(folder: Path) -> None:
    shutil.copy(EXAMPLES / "resnet50.yaml", folder / "experiment.yaml")
    (folder / "experiment.yaml").write_text(
        "name: mine\nnetwork: digits-resnet\ndata: digits\nmasks: prune\nuser_classes: [1, 4]\n"
        "prune: {nm: '2:4', block: 16, sparsity: 0.9, iterations: 3, criterion: paper, seed: 1}\n"
        "accelerators: [dense, crisp-stc]\nactivation_density: 0.5\nobjective: edp\n"
        "mapper: analytic\nmapper_seconds: 3.5\nengine: analytic\n"
    )


def _read_experiment(folder: Path, out: Path) -> object:
    experiment = load_experiment(folder / "experiment.yaml")
    return experiment.run_name, experiment.mapping


def _design(folder: Path) -> None:
    (folder / "mine.yaml").write_text(
        (Path(__file__).parents[2] / "arch" / "dstc.yaml").read_text(encoding="utf-8")
    )


def _read_design(folder: Path, out: Path) -> object:
    """The design, and what the first stages make of it."""
    design = load_accelerator(str(folder / "mine.yaml"))
    return [problem_for(design, gemm) for gemm in small_workload().gemms]


def _small_design(folder: Path) -> None:
    (folder / "mine.yaml").write_text(
        "like: crisp-stc\nname: mine\ntitle: My design\nabout: Less of it.\ntechnology: 45nm\n"
        "tree:\n- {name: system, holds: [DRAM]}\n- {name: SM, holds: [SMEM]}\n"
        "- {name: Subpartition, count: 4, holds: [RF]}\n"
        "- {name: PE, count: 64, holds: [LRF, MAC]}\n"
    )


def _read_and_price_design(folder: Path, out: Path) -> object:
    """All stages for one small layer on a design of one's own."""
    workload = out / "lower" / "workload.json"
    write_json(workload, small_workload())
    names = [str(folder / "mine.yaml")]
    map_workload(workload, names, out / "mapping")
    manifest = write_specs(workload, out / "mapping", names, out / "specs")
    return evaluate_specs([out / "specs" / each.spec for each in manifest.entries], "analytic")


def small_workload() -> Workload:
    gemms = (
        Gemm("first", 1, 32, 64, 16, dense(32 * 64)),
        Gemm("second/../x", 1, 16, 32, 4, dense(16 * 32)),
    )
    return Workload("small", NM(2, 4), 16, 0.0, "none", gemms)


@cache
def _mapped() -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        write_json(Path(scratch) / "workload.json", small_workload())
        map_workload(Path(scratch) / "workload.json", ["dense"], Path(scratch))
        return (Path(scratch) / "dense.yaml").read_bytes()


def _mappings(folder: Path) -> None:
    write_json(folder / "workload.json", small_workload())
    (folder / "dense.yaml").write_bytes(_mapped())


def _read_mappings(folder: Path, out: Path) -> object:
    """Mappings and workload, specs of them, and why they win."""
    read_mappings(folder / "dense.yaml")
    manifest = write_specs(folder / "workload.json", folder, ["dense"], out / "specs")
    evaluate_specs([out / "specs" / each.spec for each in manifest.entries], "analytic")
    return explain_mappings(folder / "workload.json", folder, ["dense"])


# ---- layers ----------------------------------------------------------------------------------

LAYERS = """\
- {name: stem, kind: conv, in_channels: 3, out_channels: 16, kernel: 3x3, padding: 1, input_size: 8}
- {name: c1, kind: conv, in_channels: 16, out_channels: 32, kernel: [3, 3], stride: 2,
   padding: [1, 1], dilation: 1, groups: 1, input_size: [8, 8], output_size: 4x4, batch: 1}
- {name: up, kind: conv_transpose, in_channels: 32, out_channels: 16, kernel: 4, stride: 2,
   padding: 1, output_padding: 1, input_size: 4x4}
- {name: fc, kind: linear, in_channels: 32, out_channels: 48, batch: 4}
- {name: att, kind: matmul, in_channels: 16, out_channels: 8, groups: 2, batch: 8}
"""
PROBLEM = """\
problem:
  version: 0.4
  shape:
    name: CNN
    dimensions: [C, M, R, S, N, P, Q]
    coefficients: [{name: Wstride, default: 1}, {name: Wdilation, default: 1}]
    data_spaces:
    - {name: Weights, projection: [[[C]], [[M]], [[R]], [[S]]]}
    - {name: Inputs, projection: [[[N]], [[C]], [[R, Wdilation], [P, Wstride]], [[S], [Q]]]}
    - {name: Outputs, projection: [[[N]], [[M]], [[P]], [[Q]]], read_write: true}
  instance: {C: 4, M: 8, R: 3, S: 3, N: 1, P: 7, Q: 9, Wstride: 2}
"""


def _layer_list(folder: Path) -> None:
    (folder / "layers.yaml").write_text(LAYERS)


def _layer_csv(folder: Path) -> None:
    (folder / "layers.csv").write_text(
        "name,kind,in_channels,out_channels,kernel,stride,padding,input_size,batch\n"
        "c1,conv,16,32,3x3,2,1,8x8,\nfc,linear,32,48,,,,,4\n"
    )


def _layer_json(folder: Path) -> None:
    _layer_list(folder)
    write_json(folder / "layers.json", read_layers(folder / "layers.yaml"))
    (folder / "layers.yaml").unlink()


def _problem(folder: Path) -> None:
    (folder / "layers.yaml").write_text(PROBLEM)


def _problem_directory(folder: Path) -> None:
    (folder / "net").mkdir()
    (folder / "base.yaml").write_text(PROBLEM.replace("problem:", "problem_base: &base"))
    for name in ("9", "10"):
        (folder / "net" / f"{name}.yaml").write_text(
            "{{include_text('../base.yaml')}}\nproblem:\n  <<<: *base\n  instance: {C: 4, M: 8}\n"
        )


def _graph(folder: Path) -> None:
    from onnx import TensorProto, helper, save

    def weight(name: str, *dims: int) -> TensorProto:
        return helper.make_tensor(name, TensorProto.FLOAT, dims, [0.0] * int(np.prod(dims)))

    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "c", pads=[1, 1, 1, 1], group=2),
        helper.make_node("ConvTranspose", ["a", "w1"], ["b"], "up", strides=[2, 2]),
        helper.make_node("Reshape", ["b", "shape"], ["t"]),
        helper.make_node("MatMul", ["t", "w2"], ["u"], "fc"),
        helper.make_node("Transpose", ["u"], ["v"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["u", "v"], ["y"]),
    ]
    float_ = TensorProto.FLOAT
    initial = [weight("w0", 8, 2, 3, 3), weight("w1", 8, 5, 2, 2), weight("w2", 144, 7)]
    initial.append(helper.make_tensor("shape", TensorProto.INT64, [3], [1, 5, 144]))
    inputs = [helper.make_tensor_value_info("x", float_, ["batch", 4, 6, 6])]
    outputs = [helper.make_tensor_value_info("y", float_, None)]
    save(
        helper.make_model(helper.make_graph(nodes, "toy", inputs, outputs, initial)),
        str(folder / "layers.onnx"),
    )


def _read_layers(name: str, folder: Path, out: Path) -> object:
    return read_layers(folder / name)


def _read_and_lower(folder: Path, out: Path) -> object:
    """A list of layers, all the way to specs on one design."""
    request = SpecRequest(accelerators=("dense",), block=16, sparsity=0.75)
    return layer_specs(folder / "layers.yaml", request, None, out, Quiet())


def _short_list(folder: Path) -> None:
    (folder / "layers.yaml").write_text(
        "- {name: fc, kind: linear, in_channels: 32, out_channels: 16, batch: 4}\n"
    )


# ---- masks, weights, archives ----------------------------------------------------------------


class Small(nn.Module):
    """Two layers and what stands between them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 1)
        self.norm = nn.BatchNorm2d(16)
        self.fc = nn.Linear(32, 16)


def _masks(folder: Path) -> None:
    rng = np.random.default_rng(0)
    draw = Draw(NM(2, 4), 16, 0.75)
    layers = {
        "conv": draw.mask(16, 32, rng).reshape(16, 2, 4, 4).repeat(1, axis=1),
        "fc": draw.mask(16, 32, rng),
    }
    layers["conv"] = np.ascontiguousarray(draw.mask(16, 16, rng).reshape(16, 16, 1, 1))
    save_masks(folder / "masks.safetensors", Masks("small", NM(2, 4), 16, layers))
    table = LayerTable("small", 768, (Layer("conv", "conv", 16, 16), Layer("fc", "linear", 32, 16)))
    write_json(folder / "layers.json", table)
    save_file(
        {
            "conv.weight": np.ones((16, 16, 1, 1), np.float32),
            "fc.weight": np.ones((16, 32), np.float32),
            "norm": np.ones(16, np.float32),
        },
        folder / "weights.safetensors",
    )


def _read_masks(folder: Path, out: Path) -> object:
    load_masks(folder / "masks.safetensors")
    return lower_network(folder / "layers.json", folder / "masks.safetensors", out)


def _pack(folder: Path, out: Path) -> object:
    return pack_masks(folder / "weights.safetensors", folder / "masks.safetensors", out)


def _weights(folder: Path) -> None:
    torch.manual_seed(0)
    save_weights(folder / "weights.safetensors", Small())


def _pickled_weights(folder: Path) -> None:
    torch.manual_seed(0)
    torch.save({"state_dict": Small().state_dict(), "epoch": 3}, folder / "weights.pth")


def _old_weights(folder: Path) -> None:
    """Torch's format before 1.6: pickles one after the other."""
    torch.manual_seed(0)
    file = folder / "weights.pickle.pth"
    torch.save(Small().state_dict(), file, _use_new_zipfile_serialization=False)


def _read_weights(name: str, folder: Path, out: Path) -> object:
    read_header(folder / name)
    return load_weights(folder / name, Small(), "small", "fc", resize_head=True)


def _packed(folder: Path) -> None:
    weights = np.arange(64 * 32, dtype=np.float32).reshape(64, 32)
    network = PackedNetwork(
        "small", (PackedLayer("fc", (64, 32), weights),), {"norm": np.ones(3, np.float32)}
    )
    write_packed(folder / "packed.safetensors", network)


def _packed_hybrid(folder: Path) -> None:
    from crisp_loop.formats.hybrid import HybridMatrix

    mask = Draw(NM(2, 4), 16, 0.75).mask(32, 64, np.random.default_rng(0))
    weights = np.random.default_rng(1).standard_normal((32, 64), dtype=np.float32)
    matrix = HybridMatrix.encode(mask, weights, NM(2, 4), 16)
    network = PackedNetwork("small", (PackedLayer("fc", (32, 64), matrix),), {})
    write_packed(folder / "packed.safetensors", network)


def _read_packed(folder: Path, out: Path) -> object:
    return read_packed(folder / "packed.safetensors").state_dict()


def _checkpoint(folder: Path) -> None:
    snapshot = Snapshot({"iteration": 2, "reports": []}, {"model.w": torch.ones(4, 4)})
    Checkpoint(folder / "task.safetensors", "key").save(snapshot)


def _read_checkpoint(folder: Path, out: Path) -> object:
    found = Checkpoint(folder / "task.safetensors", "key").load()
    assert found is None or isinstance(found.position, dict)
    return found


# ---- specs, results --------------------------------------------------------------------------


def _spec(folder: Path) -> None:
    shutil.copy(GOLDEN / "crisp24-b16-conv4-3x3" / "spec.yaml", folder / "spec.yaml")


def _read_spec(folder: Path, out: Path) -> object:
    return evaluate_specs([folder / "spec.yaml"], "analytic")


def _rendered(folder: Path) -> None:
    """The section files of a compact GEMM with its gather."""
    for file in _run_files():
        parts = Path(file).parts
        if parts[:2] == ("specs", "crisp-stc") and parts[2] == "c1":
            (folder / parts[-1]).write_bytes(_run_files()[file])


def _read_rendered(folder: Path, out: Path) -> object:
    return evaluate_specs([folder], "analytic-exact")


@cache
def _run_files() -> dict[str, bytes]:
    """A run of two layers on two designs: path to content."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        layers = root / "layers.yaml"
        layers.write_text(
            "- {name: c1, kind: conv, in_channels: 32, out_channels: 32, kernel: 3,"
            " input_size: 6}\n"
            "- {name: fc, kind: linear, in_channels: 64, out_channels: 32}\n"
        )
        request = SpecRequest(accelerators=("dense", "crisp-stc"), block=16, sparsity=0.75)
        run = layer_specs(layers, request, None, root / "run", Quiet())
        said = tuple(evaluate_specs(spec_directories(run), "analytic"))
        # Paths as the command line writes them from the run's directory.
        said_inside = Evaluations("analytic", said[0].engine_version, said)
        write_json(run.evaluations, said_inside)
        text = run.evaluations.read_text().replace(f"{run.specs}/", "")
        run.evaluations.write_text(text)
        write_json(run.summary, summary(network="layers"))
        run.experiment.write_text("name: x\n")
        report_run(run)
        return {
            file.relative_to(run.root).as_posix(): file.read_bytes()
            for file in sorted(run.root.rglob("*"))
            if file.is_file()
        }


def _run(folder: Path) -> None:
    """What the report reads."""
    kept = ("specs/manifest.json", "cost/", "lower/workload.json", "prune/summary", "experiment")
    for name, content in _run_files().items():
        if name.startswith(kept):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def _read_run(folder: Path, out: Path) -> object:
    run = RunDirectory(folder)
    report = report_run(run)  # writes beside what it reads
    for file in report.files:
        file.unlink()
    return layers_for_terminal(report.results, report.baseline)


def _table(folder: Path) -> None:
    (folder / "results.csv").write_bytes(_run_files()["results.csv"])


def _read_table(folder: Path, out: Path) -> object:
    report = report_of_table(folder / "results.csv")
    shown = [layers_for_terminal(report.results, report.baseline)]
    shown.append(totals_for_terminal(report.totals))
    return shown, [written(totals_grid(report.totals)) for written in FORMATS.values()]


def _two_tables(folder: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (folder / name).write_bytes(_run_files()["results.csv"])


def _compare(folder: Path, out: Path) -> object:
    comparison = compare_results(folder / "a.csv", folder / "b.csv")
    for ending in ("csv", "md", "tex", "html"):
        write_comparison(comparison, out / f"changes.{ending}")
    return comparison


def _evaluations(folder: Path) -> None:
    (folder / "evaluations.json").write_bytes(_run_files()["cost/evaluations.json"])


def _read_evaluations(folder: Path, out: Path) -> object:
    return [each.bottleneck for each in read_evaluations(folder / "evaluations.json").evaluations]


def summary(network: str = "digits-resnet") -> PruneSummary:
    """A pruning's summary with something in every field."""
    accuracy = Accuracy(samples=10, top1=0.5, top1_among_user_classes=0.75)
    scores = Scores(val=accuracy, test=accuracy)
    layer = LayerReport("fc", "hybrid", "", 32, 64, 256, 0.875, 4, 1, 16)
    return PruneSummary(
        network=network, dataset="digits", user_classes=(1, 4), config=PruneConfig(), samples=10,
        dense_all_classes=scores, dense=scores, dense_finetuned=scores, pruned=scores,
        sparsity=0.875, sparsity_all=0.5, parameters=100, parameters_kept=50, prunable_weights=80,
        all_weights=90, macs_ratio=0.25, iterations=(IterationReport(1, 0.9, 0.9, {"fc": 1}),),
        layers=(layer,), dense_weights="trained", seconds={"dense": 1.0},
        versions={"crisp_loop": "0"}, device="cpu, float32",
    )  # fmt: skip


def _summaries(folder: Path) -> None:
    write_json(folder / "summary.json", summary())
    pruned = summary().pruned
    again = RepruneSummary(
        "run", "dense", "personalised", (1, 4), (1, 7), pruned, pruned, changes=()
    )
    write_json(folder / "reprune.json", again)


def _read_summaries(folder: Path, out: Path) -> object:
    return (
        read_json(folder / "summary.json", PruneSummary),
        read_json(folder / "reprune.json", RepruneSummary),
    )


# ---- what native tools write, and what is kept of it -----------------------------------------


def _stats(folder: Path) -> None:
    shutil.copy(GOLDEN / "crisp24-b16-conv4-3x3" / FILE_NAME, folder / FILE_NAME)


def _read_stats(folder: Path, out: Path) -> object:
    """As the engine reads a store's file: what is not there or no text was never kept."""
    store = ResultStore(folder)
    store.recall("version", "spec")
    try:
        text = (folder / FILE_NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return parse_stats(text, "spec", where=folder / FILE_NAME)


def _accelergy(folder: Path) -> None:
    for file in (GOLDEN / "accelergy" / "dense").iterdir():
        shutil.copy(file, folder)


def _read_accelergy(folder: Path, out: Path) -> object:
    return accelergys_answer(folder, "")


def _macros(folder: Path) -> None:
    (folder / "unfinished.csv").write_text("45,1024,64,1,1,1.5,2.5,0.25,1000\n" * 3)


def _read_macros(folder: Path, out: Path) -> object:
    return recorded_macros(folder / "unfinished.csv")


def _mapper(folder: Path) -> None:
    (folder / "timeloop-mapper.map.yaml").write_text(
        "mapping:\n- {target: DRAM, type: temporal, factors: R1 M4 N2 Q1 K8, permutation: KMNRQ}\n"
        "- {target: RF, type: spatial, factors: M4, permutation: KMNRQ, split: 1}\n"
    )


def _read_mapper(folder: Path, out: Path) -> object:
    file = folder / "timeloop-mapper.map.yaml"
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return [directive.bounds() for directive in mappers_answer(text, str(file))]


# ---- data sets -------------------------------------------------------------------------------


def _cifar10(folder: Path) -> None:
    names = [f"data_batch_{number}" for number in range(1, 6)]
    for protocol, name in enumerate([*names, "test_batch"]):
        images = np.random.default_rng(protocol).integers(0, 256, (20, 3072), dtype=np.uint8)
        batch = {b"data": images, b"labels": [n % 10 for n in range(20)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=max(1, protocol)))
    meta = {"label_names": [f"class {number}" for number in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))


def _cifar100(folder: Path) -> None:
    for name, protocol in (("train", 2), ("test", 4)):
        images = np.random.default_rng(protocol).integers(0, 256, (200, 3072), dtype=np.uint8)
        labels = [n % 100 for n in range(200)]
        batch = {"data": images, "fine_labels": labels, "coarse_labels": labels}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))


def _pictures() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for number, name in enumerate(("ape", "bee")):
        for n in range(10):
            written = io.BytesIO()
            kind = "PNG" if n % 2 else "JPEG"
            colour = (100 * number + 5 * n, 7, 9)
            Image.new("RGB", (9, 8), colour).save(written, kind)
            files[f"data/{name}/{n}.{kind.lower()}"] = written.getvalue()
    return files


def _folder(folder: Path) -> None:
    for name, content in _pictures().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _pictures().items():
            archive.writestr(name, content)


def _read_data(name: str, folder: Path, out: Path) -> object:
    source = name.format(folder)
    return source_stamp(source), load(source, shape=(3, 8, 8))


# ---- sweeps ----------------------------------------------------------------------------------

SWEEP = """\
name: mine
experiment: {network: digits-resnet, masks: draw, engine: analytic, activation_density: 0.5}
grid:
- nm: ['2:4', '1:4']
  sparsity: [0.9, 0.95]
  accelerator: [dense, crisp-stc]
  arch: {DRAM.read_bandwidth: [8, 16], crisp-stc/SMEM.depth: [65536, 32768]}
- {nm: '2:4', block: 16, sparsity: 0.75, accelerator: dstc}
mappings: keep
layers: true
"""


def _sweep(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(SWEEP)


def _read_sweep(folder: Path, out: Path) -> object:
    """The sweep's points, none of them priced."""
    return sweep_state(load_sweep(folder / "sweep.yaml"), out / "mine", folder / "sweep.yaml")


def _read_trade_off(folder: Path, out: Path) -> object:
    """The sweep that a trade-off study of an experiment is."""
    file = folder / "experiment.yaml"
    request = pareto_request({"experiment": experiment_data(file)})
    return sweep_state(sweep_of(request, file), out / "mine", file)


class _Here:
    """Runs a sweep's tasks in this process."""

    def room(self) -> bool:
        return True

    def submit(self, task: Task) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        future.set_result(work(task))
        return future

    def close(self) -> None:
        pass


def _swept(folder: Path) -> dict[str, object]:
    """Run a small sweep in ``folder``, where searches are kept too; what its dataset then says."""
    grid = {"nm": ["2:4", "1:4"], "accelerator": ["dense", "crisp-stc"]}
    experiment = {"network": "digits-resnet", "masks": "draw", "engine": "analytic"}
    sweep = Sweep.model_validate({"experiment": experiment, "grid": grid})
    mine = folder / "mine"
    with (
        mock.patch("crisp_loop.sweep.run._pool", return_value=_Here()),
        mock.patch.dict(os.environ, {VARIABLE: str(folder / "cache")}),
    ):
        run_sweep(sweep, mine)
    return {"points": read_points(mine).to_dict(), "layers": read_sweep_layers(mine).to_dict()}


@cache
def _undisturbed() -> tuple[dict[str, bytes], str]:
    """Files and content of the dataset of :func:`_swept`."""
    with tempfile.TemporaryDirectory() as scratch:
        found = _swept(Path(scratch))
        kept = [*Path(scratch).glob("mine/*/*.parquet"), *Path(scratch).glob("cache/*/*")]
        return {str(file.relative_to(scratch)): file.read_bytes() for file in kept}, repr(found)


def _kept(what: str, folder: Path) -> None:
    """What the sweep left in ``mine``, its dataset, or in ``cache``, its searches."""
    for name, content in _undisturbed()[0].items():
        if name.startswith(what):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def _sweep_again(folder: Path, out: Path) -> object:
    """Whatever became of what a sweep left, another run comes to the same."""
    with tempfile.TemporaryDirectory() as scratch:
        if not (folder / "cache").exists():
            _kept("cache", Path(scratch))
        shutil.copytree(folder, scratch, symlinks=True, dirs_exist_ok=True)
        again = _swept(Path(scratch))
    assert repr(again) == _undisturbed()[1], "the sweep has other results"
    return again


def _read_sweep_results(folder: Path, out: Path) -> object:
    _sweep_again(folder, out)
    return read_points(folder / "mine"), read_sweep_layers(folder / "mine")


READERS = (
    Reader("experiment", _experiment, _read_experiment, 3),
    Reader("experiment, traded off", _experiment, _read_trade_off, 2),
    Reader("sweep", _sweep, _read_sweep, 3),
    Reader("sweep's results", partial(_kept, "mine"), _read_sweep_results, 2),
    Reader("sweep's searches", partial(_kept, "cache"), _sweep_again),
    Reader("design", _design, _read_design, 3),
    Reader("design, priced", _small_design, _read_and_price_design),
    Reader("mappings", _mappings, _read_mappings, 2),
    Reader("layers .yaml", _layer_list, partial(_read_layers, "layers.yaml"), 3),
    Reader("layers .csv", _layer_csv, partial(_read_layers, "layers.csv"), 2),
    Reader("layers .json", _layer_json, partial(_read_layers, "layers.json"), 2),
    Reader("layers .onnx", _graph, partial(_read_layers, "layers.onnx"), 2),
    Reader("problem", _problem, partial(_read_layers, "layers.yaml"), 3),
    Reader("problems", _problem_directory, partial(_read_layers, "net"), 2),
    Reader("layers to specs", _short_list, _read_and_lower),
    Reader("masks", _masks, _read_masks, 2),
    Reader("masks, packed", _masks, _pack),
    Reader("weights .safetensors", _weights, partial(_read_weights, "weights.safetensors"), 2),
    Reader("weights .pth", _pickled_weights, partial(_read_weights, "weights.pth"), 2),
    Reader("weights, old", _old_weights, partial(_read_weights, "weights.pickle.pth")),
    Reader("packed, dense", _packed, _read_packed),
    Reader("packed, hybrid", _packed_hybrid, _read_packed, 2),
    Reader("checkpoint", _checkpoint, _read_checkpoint),
    Reader("spec", _spec, _read_spec, 3),
    Reader("spec directory", _rendered, _read_rendered, 3),
    Reader("run directory", _run, _read_run),
    Reader("results table", _table, _read_table, 2),
    Reader("results compared", _two_tables, _compare),
    Reader("evaluations", _evaluations, _read_evaluations, 2),
    Reader("summaries", _summaries, _read_summaries, 2),
    Reader("statistics", _stats, _read_stats, 2),
    Reader("Accelergy's answer", _accelergy, _read_accelergy, 2),
    Reader("CACTI's answers", _macros, _read_macros),
    Reader("the mapper's answer", _mapper, _read_mapper),
    Reader("CIFAR-10", _cifar10, partial(_read_data, "cifar10:{}"), 2),
    Reader("CIFAR-100", _cifar100, partial(_read_data, "cifar100:{}"), 2),
    Reader("pictures", _folder, partial(_read_data, "folder:{}/data")),
    Reader("pictures .zip", _archive, partial(_read_data, "folder:{}/data.zip"), 2),
)
