"""Docker's client: which image is here, and what its failures mean."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

DOCKER = "docker"
_TIMEOUT_S = 30.0
_KILLED = 137
"""Exit status of a container that was ended by SIGKILL."""


@dataclass(frozen=True)
class Image:
    """An image on this machine."""

    name: str
    identity: str
    """Its repository digest, ``name@sha256:...``; else its name and identifier."""


def inspect_image(name: str) -> Image | str:
    """The image called ``name``, or why it cannot be used, as a clause with what to do."""
    if shutil.which(DOCKER) is None:
        return "no docker program on PATH; install Docker (https://docs.docker.com/get-docker)"
    try:
        done = subprocess.run(
            [DOCKER, "image", "inspect", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the Docker daemon did not answer within {_TIMEOUT_S:g} s; start it again"
    except OSError as error:
        return f"docker cannot be started ({error.strerror or error}); install it again"
    if done.returncode != 0:
        return explain_docker(done.stderr, done.returncode, name)
    try:
        (found,) = json.loads(done.stdout)
        digests, identifier = found.get("RepoDigests") or [], str(found["Id"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"docker image inspect said {done.stdout[:80]!r}; install Docker again"
    return Image(name, digests[0] if digests else f"{name} {identifier}")


_CAUSES: list[tuple[str, Callable[[str], str]]] = [
    (
        r"permission denied while trying|dial unix .*permission denied",
        lambda image: (
            "you may not talk to the Docker daemon; add yourself to its group"
            " (sudo usermod -aG docker $USER, then log in again), or use rootless Docker"
        ),
    ),
    (
        r"cannot connect to the docker daemon|is the docker daemon running|error during connect"
        r"|failed to connect to the docker api",
        lambda image: (
            "the Docker daemon is not running; start it (sudo systemctl start docker,"
            " or Docker Desktop)"
        ),
    ),
    (
        r"no such image|unable to find image|pull access denied|manifest unknown|not found locally",
        lambda image: f"the image {image} is not here; get it: docker pull {image}",
    ),
    (
        r"no such container|executable file not found|no such file or directory",
        lambda image: f"the image {image} has no python3 on its PATH; use the official one",
    ),
    (
        r"no space left on device",
        lambda image: "Docker's disk is full; free some of it (docker system prune)",
    ),
]
"""(pattern in what the client said, its clause for an image), the most telling first."""


def explain_docker(said: str, status: int, image: str) -> str:
    """Why a call of Docker's client failed, as a clause without its full stop.

    Args:
        said: What it wrote to its standard error.
        status: Its exit status.
        image: The image that was asked for.
    """
    if status in (_KILLED, -9):
        return (
            f"the container was killed (exit status {_KILLED}), most likely because it ran out of"
            " memory; give Docker more of it"
        )
    for pattern, cause in _CAUSES:
        if re.search(pattern, said, re.IGNORECASE):
            return cause(image)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = f", its last words: {lines[-1][:200]}" if lines else " and said nothing"
    return f"docker ended with status {status}{last}"
