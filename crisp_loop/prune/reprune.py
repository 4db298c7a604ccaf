"""Prune again when the user's classes change (the open question of CRISP's introduction)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import is_file, read_json, validated, write_json
from crisp_loop.core.masks import Masks, load_masks
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.networks.registry import build
from crisp_loop.prune.case import load_case
from crisp_loop.prune.checkpoints import load_weights, save_weights
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.results import PruneSummary, Scores
from crisp_loop.prune.run import prune_network

REPORT = "reprune.json"

Start = Literal["personalised", "dense"]

_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_config)
class Change:
    """How the mask of one layer changed, in weights."""

    layer: str
    weights: int
    kept: int
    """Kept by both masks."""
    lost: int
    """Kept before, pruned now."""
    regrown: int
    """Pruned before, kept now."""
    kept_by_chance: float
    """What ``kept`` would be on average if the two masks knew nothing of each other."""


@dataclass(frozen=True, config=_config)
class RepruneSummary:
    """One change of the user's classes."""

    earlier: str
    """The run directory of the earlier pruning."""
    dense_weights: str
    """The file of the dense network that both prunings come from."""
    start: Start
    classes_before: tuple[int, ...]
    classes_now: tuple[int, ...]
    before: Scores
    """The earlier personalised network on samples of the classes of now."""
    after: Scores
    """The newly pruned network on the same."""
    changes: tuple[Change, ...]

    @property
    def total(self) -> Change:
        """All layers together."""
        sums = {
            name: sum(getattr(change, name) for change in self.changes)
            for name in ("weights", "kept", "lost", "regrown", "kept_by_chance")
        }
        return Change(layer="all", **sums)


def reprune(
    earlier: Path,
    user_classes: Sequence[int],
    out_dir: Path,
    *,
    start: Start = "personalised",
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[RepruneSummary, PruneSummary]:
    """Prune the network of an earlier run for other classes.

    From the start ``dense`` that is a pruning like the first. From ``personalised`` the weights
    that the earlier mask keeps start as they are in the personalised network, batch norm and
    head too, and pruned ones as they were in the dense network: a pruned weight is 0, and
    so would be its saliency and its chance to come back. In either case all masks start open.

    Args:
        earlier: Run directory of a pruning; it is only read.
        user_classes: The classes of now.
        out_dir: The new run directory: the files of
            :func:`~crisp_loop.prune.run.prune_network` and ``prune/reprune.json``.
        start: Which network it starts from.
        options: Pruning options that differ from the earlier run's.
        progress: Shows the epochs.

    Raises:
        CrispLoopError: ``earlier`` is no whole run, its dense weights are gone, or anything that
            pruning refuses.
    """
    progress = progress or Quiet()
    if out_dir.resolve() == earlier.resolve():
        raise CrispLoopError(f"{out_dir} holds the earlier run; expected another directory.")
    known = read_json(earlier / "prune" / "summary.json", PruneSummary, "summary of a pruning")
    # The dense network's own fine-tuning tells nothing about a change of classes.
    changed = known.config.model_dump(mode="json") | {"upper_bound": False} | dict(options or {})
    config = validated(changed, PruneConfig, "prune")
    old = load_masks(earlier / "prune" / "masks.safetensors")
    dense = _dense_weights(earlier, known)
    case = load_case(known.network, known.dataset, user_classes, config)
    classes = len(case.data.classes)

    personalised = build(known.network, classes)
    load_weights(earlier / "prune" / "weights.safetensors", personalised, known.network)
    before = case.scores(personalised)
    weights = dense
    if start == "personalised":
        original = build(known.network, classes)
        load_weights(dense, original, known.network)
        personalised.load_state_dict(merged(personalised, original, old))
        weights = out_dir / "prune" / "start.safetensors"
        save_weights(weights, personalised)

    summary = prune_network(
        known.network,
        known.dataset,
        user_classes,
        config,
        out_dir,
        weights=weights,
        data=case.data,
        progress=progress,
    )
    new = load_masks(out_dir / "prune" / "masks.safetensors")
    report = RepruneSummary(
        earlier=str(earlier),
        dense_weights=str(dense.resolve()),
        start=start,
        classes_before=known.user_classes,
        classes_now=case.classes,
        before=before,
        after=summary.pruned,
        changes=compare(old, new),
    )
    write_json(out_dir / "prune" / REPORT, report)
    return report, summary


def merged(personalised: nn.Module, dense: nn.Module, masks: Masks) -> dict[str, Tensor]:
    """The state of ``personalised`` with the weights of ``dense`` where ``masks`` prune."""
    state = dict(personalised.state_dict())
    originals = dense.state_dict()
    for name, mask in masks.layers.items():
        key = f"{name}.weight"
        state[key] = torch.where(torch.from_numpy(mask), state[key], originals[key])
    return state


def compare(old: Masks, new: Masks) -> tuple[Change, ...]:
    """What ``new`` keeps of ``old``; a layer that one of them leaves out is dense there."""
    changes: list[Change] = []
    for name in dict.fromkeys((*old.layers, *new.layers)):
        shape = (old.layers.get(name, new.layers.get(name))).shape  # type: ignore[union-attr]
        before = old.layers.get(name, np.ones(shape, dtype=bool))
        now = new.layers.get(name, np.ones(shape, dtype=bool))
        changes.append(
            Change(
                layer=name,
                weights=before.size,
                kept=int((before & now).sum()),
                lost=int((before & ~now).sum()),
                regrown=int((~before & now).sum()),
                kept_by_chance=float(before.mean() * now.mean() * before.size),
            )
        )
    return tuple(changes)


def _dense_weights(earlier: Path, known: PruneSummary) -> Path:
    """The file with the dense weights that the earlier run pruned."""
    trained = earlier / "prune" / "dense.safetensors"
    if is_file(trained):
        return trained
    given = Path(known.dense_weights)
    if is_file(changed := earlier / "prune" / REPORT):
        given = Path(read_json(changed, RepruneSummary, "summary of a pruning").dense_weights)
    if is_file(given):
        return given
    raise InputError(
        earlier,
        "dense_weights",
        str(given),
        f"neither this file nor {trained} is there; expected the dense weights of the run",
    )
