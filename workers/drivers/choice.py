"""Which driver this machine's sandboxes come from."""

from __future__ import annotations

import logging
import os

from nimbus_project.config import Config
from workers.sandbox import SandboxDriver, SandboxError, Stage
from workers.toolchain import Toolchains

log = logging.getLogger("nimbus.drivers")

WARNING = (
    "Functions run as plain child processes: no container keeps them from reading this user's files, using the network "
    "or eating the machine's memory and processors. Run only code that you trust, or start Docker."
)


def make_driver(settings: Config, stage: Stage) -> SandboxDriver:
    """As configured; ``auto`` is Docker when an engine answers. Raises SandboxError when Docker was asked for and does
    not."""
    wanted = settings.sandbox_driver
    if wanted in ("docker", "auto"):
        from workers.drivers.docker import DockerDriver

        try:
            return DockerDriver(settings, stage)
        except SandboxError:
            if wanted == "docker":
                raise
    from workers.drivers.process import ProcessDriver

    log.warning(WARNING)
    return ProcessDriver(settings, stage)


def make_toolchains(settings: Config, driver: SandboxDriver) -> Toolchains:
    """The builders that go with a driver."""
    if driver.name == "docker":
        from workers.drivers.docker.builds import DockerToolchains

        return DockerToolchains(settings, f"{settings.node}-{os.getpid()}")
    from workers.drivers.process_builds import ProcessToolchains

    return ProcessToolchains(settings)
