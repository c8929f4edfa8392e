"""Run as a child by the supervisor, which must not load the engine's SDK itself: `probe` or `sweep`."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from nimbus_project.config import Config, config

if TYPE_CHECKING:
    from workers.images import ImageStore


@dataclass(frozen=True, slots=True)
class Findings:
    """What the probe prints, as JSON on one line."""

    driver: str
    missing: list[str] = field(default_factory=list)
    """Runtimes whose image has to be built, in the order in which they should be."""
    warning: str = ""
    error: str = ""
    """Why the platform can't start like this."""


def probe(settings: Config) -> Findings:
    """Which driver the workers will use. Decided once, so that a worker started later, while the engine is away,
    doesn't fall back to sandboxes that protect from less."""
    from workers.drivers.choice import WARNING

    if settings.sandbox_driver == "process":
        return Findings("process", warning=WARNING)
    from workers.drivers.docker import DockerImages
    from workers.sandbox import SandboxError

    try:
        images = DockerImages()
    except SandboxError as error:
        if settings.sandbox_driver == "docker":
            return Findings("docker", error=f"NIMBUS_SANDBOX_DRIVER is docker, but: {error}")
        return Findings("process", warning=f"No Docker engine answers. {WARNING}")
    return Findings("docker", missing=_missing_images(images))


def _missing_images(store: ImageStore) -> list[str]:
    from workers import images

    return [name for name, recipe in images.recipes().items() if not images.is_current(recipe, store)]


def sweep(settings: Config) -> int:
    from workers.drivers.choice import make_driver

    driver = make_driver(settings, lambda spec, folder: None)  # it starts nothing
    try:
        return driver.sweep()
    finally:
        driver.close()


def main() -> int:
    logging.disable(logging.WARNING)  # the supervisor says it
    if sys.argv[1:] == ["sweep"]:
        sweep(config())
    else:
        print(json.dumps(asdict(probe(config()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
