"""Which driver this machine's sandboxes come from."""

from __future__ import annotations

import logging

from nimbus_project.config import Config
from workers.sandbox import SandboxDriver, SandboxError

log = logging.getLogger("nimbus.drivers")

WARNING = (
    "Functions run as plain child processes: no container keeps them from reading this user's files, using the network "
    "or eating the machine's memory and processors. Run only code that you trust, or start Docker."
)


def make_driver(settings: Config) -> SandboxDriver:
    """As configured; ``auto`` is Docker when an engine answers. Raises SandboxError when Docker was asked for and does
    not."""
    wanted = settings.sandbox_driver
    if wanted in ("docker", "auto"):
        from workers.drivers.docker import DockerDriver

        try:
            return DockerDriver(settings)
        except SandboxError:
            if wanted == "docker":
                raise
    from workers.drivers.process import ProcessDriver

    log.warning(WARNING)
    return ProcessDriver(settings)
