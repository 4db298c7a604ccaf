"""Scales that take seconds."""

from __future__ import annotations

from typing import Any

import pytest

from crisp_loop.reproduce import protocol

QUICK: dict[str, Any] = {
    "samples_per_class": 5, "train_epochs": 1, "iterations": 1, "ste_epochs": 0,
    "iteration_epochs": 0, "final_epochs": 1,
}  # fmt: skip


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> protocol.Protocol:
    """``ci`` with next to no training."""
    small = protocol._PROTOCOLS["ci"].model_copy(
        update={
            "networks": ("digits-resnet", "digits-mobilenet"),
            "prune": QUICK,
            "seeds": 2,
            "user_classes": 2,
            "class_counts": (1, 2, 50),
            "worth": 1,
            "blocks": (16,),
            "sparsities": (0.8, 0.88),
            "patterns": ("2:4", "1:16"),
            "kappa": 0.8,
        }
    )
    monkeypatch.setitem(protocol._PROTOCOLS, "ci", small)
    return small
