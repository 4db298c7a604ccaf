"""What a pruning method is: how masks follow from a model, samples, and a number of zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from crisp_loop.prune.batches import Batches
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.plan import Plan
from crisp_loop.prune.scores.products import Saliency, multiplied
from crisp_loop.prune.scores.saliency import factored_scores
from crisp_loop.prune.ste import WeightMask


@dataclass(frozen=True)
class Setting:
    """What a method prunes, and by what."""

    model: nn.Module
    batches: Batches
    """Samples of the user's classes, where the model is."""
    plan: Plan
    config: PruneConfig

    def saliency(self) -> dict[str, Tensor]:
        """T_w of the prunable layers' weights, by the criterion of the configuration."""
        return {name: multiplied(scores) for name, scores in self.factored_saliency().items()}

    def factored_saliency(self) -> dict[str, Saliency]:
        """The same, with products of gradient and weight not multiplied out."""
        names = [layer.name for layer in self.plan.prunable]
        return factored_scores(
            self.model, self.batches, names, self.config.criterion, seed=self.config.seed
        )


class Method(Protocol):
    """Decides masks. It is asked again in every iteration, and what it pruned stays pruned."""

    def start(self, masks: dict[str, WeightMask]) -> None:
        """Write the masks that the first fine-tuning needs."""
        ...

    def prune(self, masks: dict[str, WeightMask], zeros: int) -> dict[str, int]:
        """Write masks with at least ``zeros`` masked weights, and hardly more.

        Returns:
            What each layer keeps: weights, channels, or blocks in every block-row.
        """
        ...
