"""What is trained and pruned, and what that comes to: what all ways of training share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from torch import nn

from crisp_loop.core.masks import Masks
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.prune.batches import Batches
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.plan import Plan, counted_weights
from crisp_loop.prune.ste import WeightMask
from crisp_loop.prune.training.finetune import Log, Recipe, Step, train
from crisp_loop.prune.training.resume import Checkpoint
from crisp_loop.prune.training.runtime import Runtime


@dataclass(frozen=True)
class IterationReport:
    """What one iteration pruned."""

    iteration: int
    kappa: float
    """Target sparsity."""
    sparsity: float
    """Reached sparsity, at least ``kappa`` and by less than one rank column (or channel) more."""
    kept: dict[str, int]
    """What each layer keeps: K'/B blocks in every block-row, channels, or weights."""


@dataclass(frozen=True)
class Outcome:
    """What pruning came to, besides the model itself."""

    masks: Masks
    iterations: tuple[IterationReport, ...]


@dataclass(frozen=True)
class Task:
    """One model to prune. All ways of training take this."""

    model: nn.Module
    """Trained on all classes. Changed in place; in the end its masked weights are zero and no
    trace of the masks is left in it."""
    batches: Batches
    """Samples of the user's classes."""
    plan: Plan
    """What is pruned how, from :func:`~crisp_loop.prune.plan.plan_layers`."""
    config: PruneConfig
    runtime: Runtime
    """Where the model is."""
    name: str
    """Of the model, for the masks."""
    log: Log | None = None
    """Gets a line an epoch and a line an iteration."""
    progress: Progress = field(default_factory=Quiet)
    """Shows the epochs."""
    checkpoint: Checkpoint | None = None
    """Keeps the state after each iteration; pruning goes on from there if it holds any."""

    @property
    def names(self) -> list[str]:
        """The prunable layers."""
        return [layer.name for layer in self.plan.prunable]

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        each = self.config.ste_epochs + self.config.iteration_epochs
        return self.config.iterations * each + self.config.final_epochs

    def train(
        self,
        phase: str,
        epochs: int,
        after_step: Callable[[Step], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Train the model at the learning rate of fine-tuning, in a phase with its own cosine."""
        train(
            self.model,
            self.batches,
            Recipe.of(self.config, phase, epochs, self.config.lr),
            self.runtime,
            after_step=after_step,
            checkpoint=checkpoint,
            log=self.log,
            progress=self.progress,
        )

    def outcome(self, masks: dict[str, WeightMask], reports: list[IterationReport]) -> Outcome:
        """The masks as they are, for the mask file."""
        layers = {layer: mask.keep.cpu().numpy() for layer, mask in masks.items()}
        config = self.config
        return Outcome(Masks(self.name, config.nm, config.block, layers), tuple(reports))

    def report(
        self,
        masks: dict[str, WeightMask],
        iteration: int,
        target: float,
        kept: dict[str, int],
    ) -> IterationReport:
        """What ``masks`` are now."""
        zeros = sum(mask.keep.numel() - int(mask.keep.sum()) for mask in masks.values())
        sparsity = zeros / counted_weights(self.plan, self.config)
        found = IterationReport(iteration, target, sparsity, kept)
        if self.log is not None:
            self.log({"phase": "prune", **asdict(found)})
        return found
