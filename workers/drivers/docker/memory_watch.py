"""Hears from the engine when the kernel killed for memory in one of this worker's containers.

The kernel ends one process, which may be a child of the user's while the function waits for ever, or goes on with
half of itself gone. A sandbox that has run out of memory ends as a whole.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from workers.drivers.docker.engine import ENGINE_TROUBLE, connect
from workers.sandbox import SandboxError

logger = logging.getLogger(__name__)

RETRY_SEC = 1.0


class MemoryWatch:
    """A thread on the engine's stream of events, from `start` to `close`; outlives a restart of the engine."""

    def __init__(self, label: str, tell: Callable[[str], None]) -> None:
        """`label`: ``name=value`` that the containers carry. `tell` gets the id of each that ran out of memory."""
        self._label = label
        self._tell = tell
        self._closing = threading.Event()
        self._stream: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Idempotent. What happens from now on is told, however long the thread takes to be there."""
        if self._thread is None:
            args = (int(time.time()),)
            self._thread = threading.Thread(target=self._run, args=args, name="nimbus-memory", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Idempotent."""
        self._closing.set()
        stream = self._stream
        if stream is not None:
            stream.close()
        if self._thread is not None:
            self._thread.join(RETRY_SEC)

    def _run(self, since: int) -> None:
        while not self._closing.is_set():
            try:
                self._listen(since)
            except (SandboxError, *ENGINE_TROUBLE, ValueError, AttributeError) as error:
                # A stream closed under the reader fails in ways of its own; so does an engine that goes away.
                if not self._closing.wait(RETRY_SEC):
                    logger.info("listening to the engine again: %s", error)

    def _listen(self, since: int) -> None:
        filters = {"type": "container", "event": "oom", "label": self._label}
        self._stream = connect(None).events(since=since, filters=filters, decode=True)
        if self._closing.is_set():
            self._stream.close()
        for event in self._stream:
            self._tell(str(event["Actor"]["ID"]))
