"""A small run with hostile names, priced for real, and its report."""

from __future__ import annotations

import json

import pytest
from report_cases import EXPERIMENT, NAMES, SHAPES

from crisp_loop.core.evaluation import Evaluations
from crisp_loop.core.files import write_json
from crisp_loop.core.progress import Quiet
from crisp_loop.cost.run import evaluate_specs
from crisp_loop.pipeline.request import SpecRequest
from crisp_loop.pipeline.run import RunDirectory, layer_specs, report_run, spec_directories
from crisp_loop.report.run import Report


@pytest.fixture(scope="session")
def priced(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Specs of :data:`NAMES` on the four designs, and what the analytic engine says of them."""
    root = tmp_path_factory.mktemp("hostile")
    layers = root / "layers.yaml"
    layers.write_text(
        "".join(
            f"- {{name: {json.dumps(name)}, kind: conv, {shape}}}\n"
            for name, shape in zip(NAMES, SHAPES, strict=True)
        )
    )
    request = SpecRequest(block=16, sparsity=0.75)
    run = layer_specs(layers, request, None, root / "run", Quiet())
    evaluations = tuple(evaluate_specs(spec_directories(run), engine="analytic"))
    said = Evaluations("analytic", evaluations[0].engine_version, evaluations)
    write_json(run.evaluations, said)
    run.experiment.write_text(EXPERIMENT)
    return run


@pytest.fixture(scope="session")
def reported(priced: RunDirectory) -> Report:
    return report_run(priced)


@pytest.fixture(scope="session")
def page(reported: Report) -> str:
    (file,) = (file for file in reported.files if file.suffix == ".html")
    return file.read_text(encoding="utf-8")
