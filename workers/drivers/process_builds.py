"""Builders without containers: what is installed on this machine, in a private folder."""

from __future__ import annotations

from nimbus_project.config import Config
from workers.toolchain import BuildError, BuildJob, BuildResult, LineSink


class ProcessToolchains:
    """`workers.toolchain.Toolchains` as child processes."""

    def __init__(self, settings: Config) -> None:
        self._settings = settings

    def build(self, job: BuildJob, on_line: LineSink, deadline: float) -> BuildResult:
        """See `Toolchains.build`."""
        raise BuildError(f"Without Docker there is no builder for {job.toolchain} yet. Start Docker.")

    def close(self) -> None:
        """See `Toolchains.close`."""
