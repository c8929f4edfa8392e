"""Ends calls whose time is over, from inside: the sandbox lives on. One that can't be ended so the driver kills."""

from __future__ import annotations

import threading
import time

from wasmtime import Engine

MARGIN_SEC = 0.02
"""So long before the driver would kill; of a very short call a tenth."""
AGAIN_SEC = 0.005


class Watchdog:
    """A thread that sleeps until the call's deadline, and through the ends of calls before it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        """That of the present calls."""
        self._guard = threading.Lock()
        self._changed = threading.Condition(self._guard)
        self._deadline: float | None = None
        self._wakes_at = float("inf")
        self.bit = False
        """Whether it has ended the present call."""
        threading.Thread(target=self._watch, name="nimbus-watchdog", daemon=True).start()

    def start(self, seconds: float) -> None:
        """A call begins that may take so long."""
        with self._guard:
            self.bit = False
            self._deadline = time.monotonic() + seconds - min(MARGIN_SEC, seconds / 10)
            # It sleeps already until an earlier time, mostly that of the call before: no need to wake it.
            if self._deadline < self._wakes_at:
                self._changed.notify()

    def stop(self) -> None:
        """The call is over; nothing interrupts the next one."""
        with self._guard:
            self._deadline = None

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                if self._deadline is None:
                    self._wakes_at = float("inf")
                elif now < self._deadline:
                    self._wakes_at = self._deadline
                else:
                    # More than once: the call may have set its own mark after the first.
                    self.bit = True
                    self.engine.increment_epoch()
                    self._wakes_at = now + AGAIN_SEC
                self._changed.wait(None if self._wakes_at == float("inf") else self._wakes_at - now)
