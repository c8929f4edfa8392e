"""The web process's directory of functions: what an invoke needs to know, from memory.

An entry is dropped the moment this process changes the function, within a message's travel when another does
(`nimbus_project.core.redis.CHANGES`), and after MAX_AGE_SEC in any case, should a message be lost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.db import transaction

from functions.models import INVOKABLE, Function, FunctionVersion
from functions.selectors import function_get
from nimbus_project.core import redis

MAX_AGE_SEC = 5.0
MAX_ENTRIES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFunction:
    """A function as an invoke sees it."""

    id: str
    name: str
    status: str
    runtime: str
    version: int
    timeout_sec: int
    max_concurrency: int
    max_retries: int
    max_event_age_sec: int

    @property
    def invokable(self) -> bool:
        return self.status in INVOKABLE


_entries: dict[str, tuple[float, LiveFunction]] = {}
_generation = 0


def known(reference: str) -> LiveFunction | None:
    """From memory or not at all: never blocks."""
    entry = _entries.get(reference)
    return entry[1] if entry is not None and time.monotonic() - entry[0] < MAX_AGE_SEC else None


def look_up(reference: str) -> LiveFunction:
    """From the database, into memory. Raises FunctionNotFound."""
    began = _generation
    live = _read(function_get(reference))
    # A change while the row was being read would otherwise be overwritten by what was read before it.
    if began == _generation:
        if len(_entries) >= MAX_ENTRIES:
            _entries.clear()
        _entries[reference] = (time.monotonic(), live)
    return live


def _read(function: Function) -> LiveFunction:
    version = FunctionVersion.objects.only("timeout_sec").get(function=function, version=function.last_number)
    return LiveFunction(
        id=str(function.pk),
        name=function.name,
        status=function.status,
        runtime=function.runtime,
        version=function.latest_version,
        timeout_sec=version.timeout_sec,
        max_concurrency=function.max_concurrency,
        max_retries=function.max_retries,
        max_event_age_sec=function.max_event_age_sec,
    )


def forget(function_id: str, name: str = "") -> None:
    """Drop what is remembered of one function."""
    global _generation
    _generation += 1
    for reference, (_, live) in list(_entries.items()):
        if live.id == function_id or live.name == name:
            _entries.pop(reference, None)


def forget_all() -> None:
    """When messages may have been missed."""
    global _generation
    _generation += 1
    _entries.clear()


def changed(function: Function) -> None:
    """Call inside the transaction of a change: once committed, every process drops its entry."""
    function_id, name = str(function.pk), function.name

    def tell() -> None:
        forget(function_id, name)
        redis.publish(redis.CHANGES, function_id)

    transaction.on_commit(tell)
