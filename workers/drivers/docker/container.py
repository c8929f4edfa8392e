"""One container: how it ends, what it died of, another size.

It is removed by us and not by the engine: only so its end can be asked about reliably.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

import docker
from docker.errors import NotFound

from nimbus_project.config import MIB
from workers.drivers.docker.engine import ENGINE_TROUBLE
from workers.link import Death
from workers.sandbox import SandboxError

logger = logging.getLogger(__name__)

EXIT_WAIT_SEC = 1
OOM_NEWS_SEC = 0.3
"""How long the engine may take to learn why the kernel killed."""

_SIGKILL_CODE = 137


class Container:
    """One container from its creation to its removal."""

    def __init__(
        self, api: docker.APIClient, reapers: Executor, id: str, name: str, folder: Path, forget: Callable[[str], None]
    ) -> None:
        self.id = id
        self.name = name
        self.stopped = threading.Event()
        """Nothing in it runs any more."""
        self._api = api
        self._reapers = reapers
        self._folder = folder
        self._forget = forget
        self._guard = threading.Lock()
        self._ending: Future[None] | None = None
        self._memory_ran_out = False

    def gone(self) -> str | None:
        """Why its runner can't connect any more; None while it may."""
        try:
            state = self._api.inspect_container(self.id)["State"]
        except ENGINE_TROUBLE as error:
            return f"its container is lost: {error}"
        if state["Running"] or state["Status"] == "created":
            return None
        return f"its container ended with code {state['ExitCode']}{' ' + state['Error'] if state['Error'] else ''}"

    def death(self) -> Death:
        """How it ended; waits EXIT_WAIT_SEC for the end. Empty when it has not ended or can't be asked."""
        try:
            code = int(self._api.wait(self.id, timeout=EXIT_WAIT_SEC)["StatusCode"])
            if code == _SIGKILL_CODE and self._was_out_of_memory():
                return Death(out_of_memory=True)
        except (*ENGINE_TROUBLE, ValueError):
            return Death(out_of_memory=self._memory_ran_out)
        if self._memory_ran_out:
            return Death(out_of_memory=True)
        # tini says 128 + n for a runner that signal n has ended, as a shell does.
        return Death(signal=code - 128) if 128 < code <= 128 + 64 else Death(exit_code=code)

    def ran_out_of_memory(self) -> None:
        """The kernel has killed one of its processes: end the rest."""
        self._memory_ran_out = True
        self.end()

    def fit(self, memory_mb: int) -> None:
        """Raises SandboxError."""
        limit = memory_mb * MIB
        try:
            self._api.update_container(self.id, mem_limit=limit, memswap_limit=limit)
        except ENGINE_TROUBLE as error:
            raise SandboxError(f"The sandbox could not be given {memory_mb} MB: {error}") from error

    def end(self) -> Future[None]:
        """Kill and remove in the background. Idempotent; the same future each time, done when all is gone."""
        with self._guard:
            if self._ending is None:
                self._ending = self._reapers.submit(self._end)
            return self._ending

    def _end(self) -> None:
        try:
            self._api.kill(self.id)
        except ENGINE_TROUBLE as error:
            logger.debug("kill of %s: %s", self.name, error)  # mostly it has ended already; removal finds out
        else:
            self.stopped.set()
        try:
            self._api.remove_container(self.id, force=True, v=True)
        except NotFound:
            pass
        except ENGINE_TROUBLE as error:
            logger.warning("container %s stays until the next sweep: %s", self.name, error)
        self.stopped.set()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._forget(self.name)

    def _was_out_of_memory(self) -> bool:
        """The kernel's own kill, of which the engine may hear a moment after the end itself."""
        until = time.monotonic() + OOM_NEWS_SEC
        while not self._memory_ran_out:
            if self._api.inspect_container(self.id)["State"]["OOMKilled"]:
                return True
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True
