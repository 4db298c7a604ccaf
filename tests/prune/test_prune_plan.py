"""Options, which layers are pruned, and what is refused."""

from __future__ import annotations

import pytest
from torch import nn

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import validated
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.plan import plan_layers


def test_resnet50_prunes_the_papers_52_convolutions() -> None:
    plan = plan_layers(layer_table("resnet50"), PruneConfig(block=64))
    # K = 64 = B: one block a row, so nothing but N:M can go.
    assert [layer.K for layer in plan.of_form("nm")] == [64] * 5
    assert len(plan.of_form("hybrid")) == 47
    assert len(plan.prunable) == 52
    dense = {entry.layer.name: entry.reason for entry in plan.layers if entry.form == "dense"}
    assert dense == {"conv1": "stem", "fc": "head"}


@pytest.mark.parametrize(("block", "odd"), [(16, 4), (32, 7), (64, 24)])
def test_mobilenet_pointwise_layers_that_blocks_do_not_divide(block: int, odd: int) -> None:
    plan = plan_layers(layer_table("mobilenetv2"), PruneConfig(block=block, sparsity=0.55))
    undivided = [e for e in plan.layers if e.form == "nm" and "do not divide" in e.reason]
    assert len(undivided) == odd
    reasons = [entry.reason for entry in plan.layers if entry.form == "dense"]
    assert reasons.count("depthwise") == 17


def test_options_choose_layers() -> None:
    table = layer_table("digits-resnet")
    plan = plan_layers(table, PruneConfig(exclude=("layer2.*",), prune_stem=True))
    forms = {entry.layer.name: entry.form for entry in plan.layers}
    assert forms["layer2.0.conv1"] == "dense"
    assert forms["conv1"] == "dense"  # one input channel holds no group of 4
    assert forms["fc"] == "dense"
    headed = plan_layers(table, PruneConfig(prune_head=True))
    assert {e.layer.name: e.form for e in headed.layers}["fc"] == "nm"  # 10 rows
    with pytest.raises(InputError, match=r"layer9\.\*"):
        plan_layers(table, PruneConfig(exclude=("layer9.*",)))


def test_out_of_reach_and_nothing_to_prune() -> None:
    table = layer_table("digits-resnet")
    with pytest.raises(InputError, match=r"the most is 0\.9\d+") as caught:
        plan_layers(table, PruneConfig(sparsity=0.999))
    most = float(str(caught.value).rstrip(".").split()[-1])
    plan_layers(table, PruneConfig(sparsity=most))
    with pytest.raises(CrispLoopError, match="no conv or linear layer to prune"):
        plan_layers(layer_table(nn.Sequential(nn.Linear(8, 8)), (8,)), PruneConfig())
    with pytest.raises(CrispLoopError, match="no conv or linear layer to prune"):
        plan_layers(layer_table(nn.Sequential(nn.ReLU()), (8,)), PruneConfig())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nm": "2:4", "sparsity": 0.4}, "sparsity: 0.4 cannot be used; 2:4 alone prunes 0.5"),
        ({"nm": "5:4"}, "nm"),
        ({"nm": "2:8"}, "1:4, 2:4, 3:4"),
        ({"block": 48}, "16, 32, 64"),
        ({"sparsity": 1.0}, "less than 1"),
        ({"epoch": 3}, "epoch"),
        ({"lr": 0}, "greater than 0"),
        ({"criterion": "taylor"}, "paper"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        validated(options, PruneConfig, "experiment.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("experiment.yaml")


def test_every_option_is_documented() -> None:
    for name, field in PruneConfig.model_fields.items():
        assert field.description, name
