"""A version that has just been made is read before it is called: one thread of the worker, told of every change.

It looks a moment after the news, when the transaction's other messages have come too, and one function after the
other. What it has not read in time the call reads itself.
"""

from __future__ import annotations

import logging
import threading

from django.db import Error as DatabaseTrouble
from django.db import close_old_connections

from functions.configuration import SecretUnreadable
from functions.selectors import runnable_version
from nimbus_project.core.ids import as_uuid
from workers.specs import Specs

log = logging.getLogger("nimbus.worker")

AT_ONCE = 64
"""Of more that change together, the rest is read when it is called."""
TOGETHER_SEC = 0.01


class Foresight:
    """Runs until stopped."""

    def __init__(self, specs: Specs) -> None:
        self._specs = specs
        self._changed: dict[str, None] = {}
        """Function ids, in order."""
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="nimbus-foresight", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._news.set()
        self._thread.join(5)

    def expect(self, function_id: str) -> None:
        """It has changed, so it may be called soon. From any thread; never blocks."""
        with self._lock:
            if len(self._changed) < AT_ONCE and as_uuid(function_id) is not None:
                self._changed[function_id] = None
        self._news.set()

    def _work(self) -> None:
        while True:
            self._news.wait()
            if self._stop.wait(TOGETHER_SEC):
                return
            self._news.clear()
            with self._lock:
                changed, self._changed = self._changed, {}
            for function_id in changed:
                self._read(function_id)
            close_old_connections()

    def _read(self, function_id: str) -> None:
        try:
            version = runnable_version(function_id)
            if version:
                self._specs.get(function_id, version)
        except (SecretUnreadable, DatabaseTrouble):
            log.debug("a function that has changed can't be read ahead", extra={"function_id": function_id})
        except Exception:
            log.exception("a function that has changed could not be read ahead", extra={"function_id": function_id})
