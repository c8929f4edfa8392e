"""The builder's seam: what turns sources into an artifact, apart from everything else.

A builder is an image (or, with the process driver, what is installed) with one program: it reads a tar of the sources
from stdin, writes the artifact (a gzipped tar of a folder) to stdout and the compiler's log to stderr, and exits with
0, or with 1 when the user's code is to blame.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

LineSink = Callable[[str], None]

TOOLCHAINS = ("python", "node", "go", "wasm")
"""Every toolchain there may be; one without its Dockerfile in ``deploy/builders`` is not there yet."""


def builder_image(toolchain: str) -> str:
    """The tag of its image, without the installation's prefix."""
    return f"nimbus/builder-{toolchain}:1"


class BuildError(Exception):
    """The builder itself failed: no image, no engine, no toolchain. The platform's fault; says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildJob:
    """What is to be built. Frozen; the same job makes the same artifact."""

    toolchain: str
    """``go``, ``wasm``, ``python`` or ``node``: the stem of ``deploy/builders/<toolchain>.Dockerfile``."""
    files: dict[str, bytes]
    """The sources by their path."""
    settings: dict[str, str] = field(default_factory=dict)
    """Environment of the builder's program, such as NIMBUS_HANDLER and NIMBUS_LANGUAGE."""
    network: bool = False
    """Whether dependencies are to be fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """How it ended. `artifact` is None when the user's code could not be built; `error` then says why, but for what
    the log says already."""

    artifact: bytes | None
    error: str = ""


def result_of(code: int, output: bytes) -> BuildResult:
    """What a builder that ended by itself came to."""
    if code == 0:
        return BuildResult(artifact=output)
    return BuildResult(artifact=None, error="" if code == 1 else f"The builder ended with code {code}.")


class Toolchains(Protocol):
    """Runs builders. Thread-safe."""

    def build(self, job: BuildJob, on_line: LineSink, deadline: float) -> BuildResult:
        """`on_line` gets the compiler's log, line by line, as it comes. `deadline` is of `time.monotonic()`; past it
        the builder is killed and the result says so. Raises BuildError."""

    def close(self) -> None:
        """End what still runs."""


def tar_of_sources(files: dict[str, bytes]) -> bytes:
    """A tar with nothing but names and contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()
