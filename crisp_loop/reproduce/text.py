"""Sentences and tables of Markdown that the figures share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crisp_loop.prune.config import PruneConfig
from crisp_loop.reproduce.protocol import Protocol


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A table whose first ``texts`` columns are text and all others are numbers."""
    lines = [header, ["---"] * texts + ["---:"] * (len(header) - texts), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def words_of(protocol: Protocol) -> str:
    """Networks, data and training of a protocol in a few sentences."""
    config = PruneConfig.model_validate(protocol.prune)
    epochs = config.iterations * (config.ste_epochs + config.iteration_epochs) + config.final_epochs
    start = "from given weights" if protocol.weights else f"{config.train_epochs} epochs dense"
    more = ""
    if protocol.worth > 1:
        more = f" (users of less than {protocol.worth} classes: as many steps, so more epochs)"
    return (
        f"{', '.join(protocol.networks)} on {protocol.data}, {start}, then {epochs} epochs at"
        f" {config.lr:g} on up to {config.samples_per_class} samples a user class{more};"
        f" {protocol.seeds} runs, each with its own split, training, draw of classes and samples;"
        f" +- is the standard error over runs."
    )
