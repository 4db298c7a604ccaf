"""One user's case: a network, a data set, and the classes that the user meets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from crisp_loop.core.errors import InputError
from crisp_loop.core.layers import HEAD, LayerTable, roles
from crisp_loop.datasets.registry import load
from crisp_loop.datasets.split import Dataset, Split, check_classes, user_samples
from crisp_loop.networks.registry import NETWORKS
from crisp_loop.networks.registry import network as registered
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.results import Scores
from crisp_loop.prune.training.finetune import accuracy


@dataclass(frozen=True)
class Case:
    """What is personalised for whom."""

    network: str
    data: Dataset
    classes: tuple[int, ...]
    """Ids of the user's classes."""
    train: Split
    """The user's samples, for scoring and fine-tuning."""
    val: Split
    """Of the user's classes, as ``test``."""
    test: Split
    table: LayerTable

    @property
    def head(self) -> str:
        """Name of the classifier; empty where the last layer is none."""
        return next((name for name, role in roles(self.table).items() if role == HEAD), "")

    def scores(self, model: nn.Module) -> Scores:
        """Accuracy on the user's classes."""
        return Scores(
            val=accuracy(model, self.val, self.classes),
            test=accuracy(model, self.test, self.classes),
        )

    def scores_all_classes(self, model: nn.Module) -> Scores:
        """Accuracy on all classes."""
        everything = range(len(self.data.classes))
        return Scores(
            val=accuracy(model, self.data.val, everything),
            test=accuracy(model, self.data.test, everything),
        )


def load_case(
    network: str,
    dataset: str,
    user_classes: Sequence[int],
    config: PruneConfig,
    data: Dataset | None = None,
) -> Case:
    """Read the data and check that network, classes and images fit together.

    Args:
        network: A registered name.
        dataset: A data set's name.
        user_classes: Class ids.
        config: For its seed and its number of samples.
        data: The data set, where the caller has it already.

    Raises:
        CrispLoopError: one sentence on what does not fit.
    """
    entry = registered(network)
    data = data or load(dataset, config.seed, entry.input_shape)
    classes = check_classes(user_classes, data)
    check_shape(network, dataset, data)
    return Case(
        network=network,
        data=data,
        classes=classes,
        train=user_samples(data.train, classes, config.samples_per_class, config.seed),
        val=user_samples(data.val, classes),
        test=user_samples(data.test, classes),
        table=layer_table(network, entry.input_shape, num_classes=len(data.classes)),
    )


def check_shape(network: str, dataset: str, data: Dataset) -> None:
    """Whether the images of ``data``, which is called ``dataset``, have the network's input shape.

    Raises:
        InputError: they have not; the message names networks that could take them.
    """
    expected, shape = registered(network).input_shape, tuple(data.train.images.shape[1:])
    if shape != expected:
        takers = [name for name, other in NETWORKS.items() if other.input_shape == shape]
        raise InputError(
            network,
            "input_shape",
            "x".join(map(str, expected)),
            f"{dataset} holds images of {'x'.join(map(str, shape))}, which"
            f" {', '.join(takers) or 'no network'} can take (folder:PATH fits any)",
        )
