"""FunctionSpec: the frozen value a worker runs from. Plain Python, no Django."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MAX_ARTIFACT_BYTES = 50 * 1024 * 1024
"""Of an artifact as it is stored, compressed."""


class ArtifactKind(StrEnum):
    """What a sandbox is given to run."""

    SOURCE = "source"
    """UTF-8 text of one file, named after the handler's module; travels in the LOAD frame."""
    TREE = "tree"
    """A folder of interpreted source with its dependencies."""
    ELF = "elf"
    """A folder with a Linux program ``main``."""
    WASM = "wasm"
    """A folder with ``module.wasm`` and, compiled ahead of time, ``module.cwasm``."""


@dataclass(frozen=True, slots=True)
class StoredFolder:
    """A gzipped tar in Django's storage, by its content."""

    sha256: str
    stored_as: str


SpecKey = tuple[str, int, str, int]
"""Function, version, environment, generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """One immutable version of one function, whole: all a sandbox needs to run it."""

    function_id: str
    """UUID."""
    function_name: str
    version: int
    runtime: str
    """A key of `functions.runtimes.RUNTIMES`, e.g. ``python3.11``."""
    handler: str
    """``module.function``."""
    memory_mb: int
    timeout_sec: int
    artifact: bytes = field(repr=False)
    """The source; empty for the other kinds, which are in `folder`."""
    artifact_sha256: str
    artifact_kind: ArtifactKind = ArtifactKind.SOURCE
    folder: StoredFolder | None = None
    layers: tuple[StoredFolder, ...] = ()
    """Dependencies in order: shared ones, then the version's own; a later one wins."""
    env_vars: Mapping[str, str] = field(default_factory=dict, repr=False)
    network: str = "none"
    """``none`` or ``egress``."""
    max_concurrency: int = 0
    """Runs at once over all workers; 0 is no limit of its own."""
    environment: str = ""
    """Name of the environment whose overrides are in here already; empty: none."""
    generation: int = 0
    """How often the function's secrets and environments had changed when this was read: they are no part of a version,
    so a version alone does not say what a sandbox was given."""

    @property
    def key(self) -> SpecKey:
        """What a warm sandbox belongs to."""
        return (self.function_id, self.version, self.environment, self.generation)
