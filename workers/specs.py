"""The specs a worker has read, by version and environment.

A version is immutable, but a spec has the function's secrets and environments in it, which are not. So an entry is
dropped when news of a change comes (`nimbus_project.core.redis.CHANGES`), and a call that knows of a later generation
than the entry's does not use it, should it be quicker than the news.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from functions.spec import FunctionSpec

Read = Callable[[str, int, str], FunctionSpec | None]
"""Function, version, environment."""

KEPT = 256


class Specs:
    """Thread-safe. Forgets the least recently used beyond KEPT."""

    def __init__(self, read: Read, on_read: Callable[[FunctionSpec], object]) -> None:
        """`on_read` is told of each spec that was read anew."""
        self._read = read
        self._on_read = on_read
        self._entries: OrderedDict[tuple[str, int, str], FunctionSpec] = OrderedDict()
        self._lock = threading.Lock()
        self._forgotten = 0

    def known(self, function_id: str, version: int, environment: str, generation: int) -> FunctionSpec | None:
        """From memory or not at all: never blocks. One look into a dict, so it needs no lock; what is asked for all the
        time is not moved to the young end, and read again after KEPT others."""
        entry = self._entries.get((function_id, version, environment))
        return entry if entry is not None and entry.generation >= generation else None

    def get(self, function_id: str, version: int, environment: str = "", *, generation: int = 0) -> FunctionSpec | None:
        """Of `generation` or later; None when the version or the environment is gone. Raises SecretUnreadable."""
        key = (function_id, version, environment)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.generation >= generation:
                self._entries.move_to_end(key)
                return entry
            began = self._forgotten
        spec = self._read(*key)
        if spec is None:
            return None
        with self._lock:
            # A change while it was being read: it serves this call, which came before, and none after.
            if began == self._forgotten:
                self._entries[key] = spec
                self._entries.move_to_end(key)
                while len(self._entries) > KEPT:
                    self._entries.popitem(last=False)
        self._on_read(spec)
        return spec

    def forget(self, function_id: str) -> None:
        with self._lock:
            self._forgotten += 1
            for key in [key for key in self._entries if key[0] == function_id]:
                del self._entries[key]

    def forget_all(self) -> None:
        """When news may have been missed."""
        with self._lock:
            self._forgotten += 1
            self._entries.clear()
