"""The engine's side of building images."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docker.errors import DockerException, ImageNotFound

from workers.drivers.docker.engine import ENGINE_TIMEOUT_SEC, ENGINE_TROUBLE, connect
from workers.images import DIGEST_LABEL, ImageError

LineSink = Callable[[str], None]

PULL_SILENCE_SEC = 8
"""A registry that says nothing for so long is taken for not there."""
_STEP_DONE = re.compile(r"^---> ([0-9a-f]{12,})$")
"""The image that holds what a build has done so far."""


class DockerImages:
    """`workers.images.ImageStore` on the engine."""

    def __init__(self) -> None:
        """Raises SandboxError when the engine does not answer."""
        self._api = connect(ENGINE_TIMEOUT_SEC)

    def label(self, tag: str, name: str) -> str | None:
        found = self._inspect(tag)
        return ((found or {}).get("Config") or {}).get("Labels", {}).get(name) if found else None

    def size_bytes(self, tag: str) -> int | None:
        found = self._inspect(tag)
        return int(found["Size"]) if found else None

    def pull(self, tag: str, on_line: LineSink) -> None:
        name, _, version = tag.rpartition(":")
        with _as_image_error(f"pull {tag}"):
            _follow(connect(PULL_SILENCE_SEC).pull(name, version, stream=True, decode=True), on_line)

    def load_root(self, tar: Path, tag: str) -> None:
        name, _, version = tag.rpartition(":")
        with _as_image_error(f"import {tag}"):
            self._api.import_image_from_file(str(tar), repository=name, tag=version, changes=['CMD ["bash"]'])
        if self._inspect(tag) is None:
            raise ImageError(f"the engine did not take the root file system of {tag}")

    def build(self, tag: str, context: bytes, labels: dict[str, str], *, cached: bool, on_line: LineSink) -> None:
        before = self._inspect(tag)
        with _as_image_error(f"build {tag}"):
            # A build takes as long as a mirror is slow, and its steps may be silent for minutes.
            events = connect(None).build(
                fileobj=io.BytesIO(context), custom_context=True, tag=tag, labels=labels, nocache=not cached,
                rm=True, forcerm=True, network_mode="host", use_config_proxy=True, decode=True,
            )  # fmt: skip
            self._build_or_clear(events, on_line)
        after = self._inspect(tag)
        if after is None:
            raise ImageError(f"the engine built {tag} and does not have it")
        if before is not None and before["Id"] != after["Id"]:
            self._drop(before["Id"])

    def drop_untagged(self) -> int:
        # Only finished images have the digest's label, put on last: what another build is at has no tag either.
        with _as_image_error("list images"):
            lost = self._api.images(quiet=True, filters={"dangling": True, "label": ["nimbus.image", DIGEST_LABEL]})
        return sum(self._drop(image) for image in lost)

    def _build_or_clear(self, events: Iterator[dict[str, Any]], on_line: LineSink) -> None:
        """Follow a build; one that fails takes the images of its steps with it."""
        reached = ""

        def look(line: str) -> None:
            nonlocal reached
            if match := _STEP_DONE.match(line):
                reached = match[1]
            on_line(line)

        try:
            _follow(events, look)
        except BaseException:
            if reached:
                self._drop(reached)
            raise

    def _drop(self, image: str) -> bool:
        """False while a container still runs from it: the next build tries again."""
        try:
            self._api.remove_image(image)
        except DockerException:
            return False
        return True

    def _inspect(self, tag: str) -> dict[str, Any] | None:
        with _as_image_error(f"inspect {tag}"):
            try:
                found: dict[str, Any] = self._api.inspect_image(tag)
            except ImageNotFound:
                return None
        return found


@contextmanager
def _as_image_error(what: str) -> Iterator[None]:
    try:
        yield
    except ENGINE_TROUBLE as error:
        raise ImageError(f"could not {what}: {error}") from error


def _follow(events: Iterator[dict[str, Any]], on_line: LineSink) -> None:
    """Hand on what the engine tells of a pull or build. Raises ImageError with its last lines."""
    said: list[str] = []
    for event in events:
        line = str(event.get("stream") or event.get("status") or "").strip()
        if "error" in event:
            raise ImageError("\n".join([*said[-15:], str(event["error"])]))
        if line:
            said.append(line)
            on_line(line)
