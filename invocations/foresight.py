"""What calls will ask for is read in the background: functions, keys and limits that are in use, before their age is
over, and a function that has just changed, before it is called. What is not there in time a call looks up itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import Error as DatabaseTrouble

from accounts import directory as known_keys
from accounts import quotas
from functions import directory

log = logging.getLogger("nimbus.calls")

ROUND_SEC = 1.0
TOGETHER_SEC = 0.01
"""A change is heard of twice by the process that made it, and seldom comes alone."""


class Foresight:
    """One per web process; lives in its event loop."""

    def __init__(self, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._in_thread = in_thread
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    async def look_ahead(self) -> None:
        """Until cancelled."""
        directory.listen(self._hear)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    # Not `wait_for`: Python 3.11's forgets that it was cancelled when news come in the same moment
                    # (https://github.com/python/cpython/issues/86296), and then nobody could end this.
                    async with asyncio.timeout(ROUND_SEC):
                        await self._news.wait()
                    await asyncio.sleep(TOGETHER_SEC)
                self._news.clear()
                await self._look()
        finally:
            directory.unlisten(self._hear)

    async def _look(self) -> None:
        try:
            await self._in_thread(refresh)
        except DatabaseTrouble:
            log.debug("what calls ask for can't be read ahead: the database is away")
        except Exception:
            # Calls read what they need themselves; but somebody should know.
            log.exception("what calls ask for could not be read ahead")

    def _hear(self, news: str) -> None:
        """From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._news.set)


def refresh() -> None:
    """One round. Raises django.db.Error."""
    known_keys.refresh(time.monotonic(), time.time())
    quotas.refresh(directory.refresh(time.monotonic()), time.monotonic())
