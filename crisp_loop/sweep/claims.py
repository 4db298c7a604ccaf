"""Who may write what, where several sweeps share a directory.

The locks are the kernel's (``flock``): they go with the process that holds them, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError


class Claim:
    """A lock on a file, held until it is released or the process ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def on(cls, path: Path, *, shared: bool = False) -> Claim | None:
        """The lock on ``path``, or None if another process holds it.

        Args:
            path: The file; made if missing.
            shared: Whether others may hold it too, if they share it as well.

        Raises:
            CrispLoopError: the file cannot be made.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise CrispLoopError(f"{path} cannot be written: {error.strerror or error}.") from None
        claim = cls(path, descriptor)
        if claim._take(shared):
            return claim
        os.close(descriptor)
        return None

    def _take(self, shared: bool) -> bool:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(self) -> None:
        """Let others hold the lock too."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self, remove: bool = False) -> None:
        """Give the lock back; ``remove`` the file as well, where it is for one use."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
