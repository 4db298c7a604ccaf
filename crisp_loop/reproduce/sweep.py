"""Many pruned networks, measured one by one; what was measured stays under a directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import read_json, sha256, write_json
from crisp_loop.core.masks import Masks, load_masks, save_masks
from crisp_loop.core.progress import Progress
from crisp_loop.datasets.split import Dataset
from crisp_loop.prune.run import current_sources
from crisp_loop.reproduce.points import Found, Point, Start, prune_point, unfinished


class Sweep:
    """Measures points, and knows those that it or an earlier run has measured.

    ``folder/points`` has a JSON file a point, named by a hash of all that it depends on: points
    that several figures share are measured once, and a killed run goes on after the last one, in
    the middle of it where it takes long. ``folder/dense`` has the dense networks.

    Args:
        folder: The results directory.
        progress: Who hears how far it is.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._stamps: dict[tuple[str, str], str] = {}
        self._held: tuple[Start, Dataset, nn.Module] | None = None

    def measure(self, points: Sequence[Point], what: str = "Pruned networks") -> list[Found]:
        """What each point comes to, in their order.

        Raises:
            CrispLoopError: data or weights that cannot be used.
        """
        files = [self._file(point) for point in points]
        known = {file: found for file in files if (found := _read(file)) is not None}
        todo = {file: point for file, point in zip(files, points, strict=True) if file not in known}
        # Those that start from one network follow each other, so that it is loaded once.
        order = sorted(todo.items(), key=lambda each: each[1].start.model_dump_json())
        for file, point in self._progress.track(order, what, len(order)):
            known[file] = self._measured(point)
        return [known[file] for file in files]

    def masks(self, point: Point) -> Masks:
        """The masks of a point, which is pruned if it was not yet or its masks are gone.

        Raises:
            CrispLoopError: the pattern cannot reach the sparsity.
        """
        file = self._file(point).with_suffix(".masks.safetensors")
        if _read(self._file(point)) is None or not file.is_file():
            found = self._measured(point, file)
            if found.left_out:
                raise CrispLoopError(found.left_out)
        return load_masks(file)

    def data(self, point: Point) -> Dataset:
        """The data of a point."""
        return self._started(point)[0]

    def _measured(self, point: Point, keep: Path | None = None) -> Found:
        file = self._file(point)
        data, dense = self._started(point)
        checkpoint = unfinished(file.with_suffix(".checkpoint"), file.stem)
        found, masks = prune_point(point, data, dense, checkpoint, self._progress)
        if keep is not None and masks is not None:
            save_masks(keep, masks)
        write_json(file, found)
        checkpoint.remove()
        return found

    def _started(self, point: Point) -> tuple[Dataset, nn.Module]:
        if self._held is None or self._held[0] != point.start:
            self._held = None  # two of them may not fit into memory
            data, dense = point.start.trained(self._folder / "dense", self._progress)
            self._held = (point.start, data, dense)
        return self._held[1:]

    def _file(self, point: Point) -> Path:
        sources = (point.data, point.weights)
        if sources not in self._stamps:
            self._stamps[sources] = sources_stamp(*sources)
        return self._folder / "points" / f"{point.key(self._stamps[sources])}.json"


def _read(file: Path) -> Found | None:
    try:
        return read_json(file, Found) if file.is_file() else None
    except CrispLoopError:  # of another version, or damaged: measured again
        return None


def sources_stamp(data: str, weights: str) -> str:
    """Tells one state of a data set and a file of weights from another.

    Raises:
        CrispLoopError: one of them is missing.
    """
    found = current_sources(data, Path(weights).expanduser() if weights else None, False)
    return sha256(f"{found.data} {found.weights}")
