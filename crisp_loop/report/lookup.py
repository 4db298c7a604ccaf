"""Evaluations by their spec, however its path was written."""

from __future__ import annotations

from pathlib import Path

from crisp_loop.core.evaluation import Evaluation, Evaluations


class Lookup:
    """What the engine said of the specs of a manifest.

    Args:
        evaluations: What it said, spec by spec.
        folder: The manifest's directory, which its specs' paths are relative to.
    """

    def __init__(self, evaluations: Evaluations, folder: Path) -> None:
        self._folder = folder
        self._by_text = {item.spec: item for item in evaluations.evaluations}
        self._by_path: dict[Path, Evaluation] = {}
        for item in evaluations.evaluations:
            self._by_path.setdefault(_resolved(folder / item.spec), item)
            self._by_path.setdefault(_resolved(Path(item.spec)), item)

    def get(self, spec: str) -> Evaluation | None:
        """The evaluation of a manifest entry's spec; None where there is none."""
        return self._by_text.get(spec) or self._by_path.get(_resolved(self._folder / spec))


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, or what no file is called
        return path.absolute()
