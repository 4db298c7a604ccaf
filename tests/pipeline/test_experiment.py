"""Experiments: defaults, overrides, names."""

from pathlib import Path
from typing import Any

import pytest

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.pattern import NM
from crisp_loop.pipeline.experiment import Experiment, load_experiment
from crisp_loop.prune.config import PruneConfig

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_written_out_default_is_the_default() -> None:
    written = load_experiment(EXAMPLES / "digits.yaml")
    assert written == load_experiment(None, {"name": "digits"})
    assert written.masks == "prune"


def test_the_resnet50_example_draws_masks() -> None:
    experiment = load_experiment(EXAMPLES / "resnet50.yaml")
    assert (experiment.masks, experiment.prune.block) == ("draw", 64)


def test_options_go_over_the_file_section_by_section(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("prune: {nm: 1:4, block: 32, sparsity: 0.95}\nengine: analytic\n")
    experiment = load_experiment(file, {"prune": {"block": 64}, "network": "vgg16"})
    assert experiment.prune.nm == NM(1, 4)
    assert experiment.prune.block == 64
    assert (experiment.masks, experiment.engine) == ("draw", "analytic")


def test_the_results_directory_tells_the_pattern() -> None:
    experiment = load_experiment(None, {"network": "resnet50", "prune": {"block": 64}})
    assert experiment.run_name == "resnet50-2of4-b64-s90"
    assert load_experiment(None, {"name": "mine"}).run_name == "mine"


@pytest.mark.parametrize("name", ["../up", "/abs", "a/b", ".hidden"])
def test_a_name_stays_inside_runs(name: str) -> None:
    with pytest.raises(CrispLoopError, match="name: "):
        load_experiment(None, {"name": name})


def test_unknown_keys_are_named_with_the_known_ones() -> None:
    with pytest.raises(CrispLoopError, match=r"oops: .* known keys: name, network, masks, data"):
        load_experiment(None, {"oops": 1})


def test_the_docs_know_every_field() -> None:
    page = (EXAMPLES.parent / "docs/experiment.md").read_text()
    for field in (*Experiment.model_fields, *PruneConfig.model_fields):
        assert f"`{field}`" in page, field


def test_data_and_weights_ask_for_pruning() -> None:
    assert load_experiment(None, {"network": "resnet20"}).masks == "draw"
    given = load_experiment(None, {"network": "resnet20", "data": "cifar10:x"})
    assert (given.masks, given.data) == ("prune", "cifar10:x")
    assert load_experiment(None, {"network": "resnet18", "weights": "x.pth"}).masks == "prune"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"data": "mnist"},
            "data: 'mnist' cannot be used; the known ones are digits, cifar10:PATH",
        ),
        (
            {"data": "cifar10"},
            "data: 'cifar10' cannot be used; expected the path too: cifar10:PATH",
        ),
        ({"weights": "x.pth", "masks": "draw"}, "weights are read with masks: prune only"),
    ],
)
def test_wrong_data_and_weights(options: dict[str, str], words: str) -> None:
    with pytest.raises(CrispLoopError, match=words):
        load_experiment(None, options)


def test_settings_have_run_names_of_their_own() -> None:
    given = [
        {},
        {"batch": 2},
        {"arch": {"SMEM.read_bandwidth": 42}},
        {"arch": {"SMEM.read_bandwidth": 84}},
        {"arch": {"dstc/SMEM.read_bandwidth": 42}},
        {"columns": 64},
    ]
    assert len({load_experiment(None, each).run_name for each in given}) == len(given)
    assert load_experiment(None, {"batch": 1}).run_name == load_experiment(None).run_name


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"arch": {"SMEN.depth": 1}}, "arch/dense.yaml: set.SMEN.depth"),
        ({"arch": {"s2ta/SMEM.depth": 1}}, "s2ta/SMEM.depth changes a design that is not compared"),
        ({"profile": {"layer1.*": 0.5}}, "a profile needs masks: draw"),
        ({"batch": 0}, "batch"),
    ],
)
def test_settings_that_fit_nothing(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CrispLoopError) as error:
        load_experiment(None, given)
    assert sentence in str(error.value)
