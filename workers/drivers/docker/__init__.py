"""Sandboxes as containers, and the images they start from. The only folder that knows Docker.

`engine` reaches it, `container` is one container's life, `limits` what it may have, `memory_watch` hears of one
that ran out of memory, `driver` makes and sweeps, `images` keeps what containers start from.
"""

from workers.drivers.docker.driver import DockerDriver, DockerSandbox
from workers.drivers.docker.images import DockerImages

__all__ = ["DockerDriver", "DockerImages", "DockerSandbox"]
