"""The web process's directory of functions: what an invoke needs to know, from memory.

An entry is dropped the moment this process changes the function, within a message's travel when another does
(`nimbus_project.core.redis.CHANGES`), and after MAX_AGE_SEC in any case, should a message be lost. What is called these
days, and what has just changed, is read again in the background (`refresh`): no caller waits for the database then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from accounts.principal import Principal, principal_var
from functions import input_schema
from functions.configuration import NOTHING, Overrides, overrides_by_function
from functions.errors import AliasNotFound, EnvironmentNotFound, FunctionNotFound, VersionNotFound
from functions.models import INVOKABLE, Alias, Function, FunctionVersion
from functions.routing import Weights, as_weights, by_chance, by_session
from functions.selectors import function_get
from nimbus_project.core import redis
from nimbus_project.core.ids import as_uuid

MAX_AGE_SEC = 5.0
MAX_ENTRIES = 10_000
REFRESH_SEC = 2.0
"""An entry of this age is read again while it is of use: it has not reached MAX_AGE_SEC then before the next round."""
IN_USE_SEC = 300.0
"""So long after a call, or a change, a function counts as one that will be called."""
REFRESHED_AT_ONCE = 64
"""Of those in use, the latest; the others are read again when they are called."""
EVERYTHING = "*"
"""The message that concerns every function."""
LATEST = "latest"
"""The alias that always points to the newest version: there without a row, for every function."""


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
    on_success: Mapping[str, Any] = field(default_factory=dict)
    on_failure: Mapping[str, Any] = field(default_factory=dict)
    owner_id: int | None
    shared: bool
    generation: int = 0
    """Of its secrets and environments, as `functions.spec.FunctionSpec.generation`."""
    environments: Mapping[str, Overrides] = field(default_factory=dict)
    """Every environment there is, by name and by id, with what it changes here."""
    aliases: Mapping[str, Weights] = field(default_factory=dict)
    schemas: dict[int, bytes] = field(default_factory=dict, compare=False)
    """input_schema of those versions of `timeouts` that have one, as `input_schema.admit` takes it."""
    timeouts: dict[int, int] = field(default_factory=dict, compare=False)
    """timeout_sec of versions that are known to be there and ready: those of the aliases, and what `check_version` has
    seen. It lives and dies with the entry, so that a deleted version is forgotten with it."""

    @property
    def invokable(self) -> bool:
        return self.status in INVOKABLE

    def timeout_of(self, version: int, environment: str = "") -> int:
        """Of a version that was chosen; unknown ones have the newest's. An environment's own wins."""
        overrides = self.environments.get(environment, NOTHING)
        return overrides.timeout_sec or self.timeouts.get(version, self.timeout_sec)

    def schema_of(self, version: int | None) -> bytes | None:
        """What events of a version that was chosen must fit; None: the newest."""
        return self.schemas.get(self.version if version is None else version)

    def environment(self, reference: str) -> Overrides:
        """By id or name; none by the empty one. Raises EnvironmentNotFound."""
        found = self.environments.get(reference) if reference else NOTHING
        if found is None:
            raise EnvironmentNotFound("There is no environment of this id or name.")
        return found

    def route(self, alias: str, session_key: str, chance: float) -> int:
        """The version that a call through `alias` runs; `chance` in [0, 1) decides for calls without a session.
        Microseconds. Raises AliasNotFound."""
        if alias == LATEST:
            return self.version
        weights = self.aliases.get(alias)
        if weights is None:
            raise AliasNotFound(f"The function {self.name} has no alias of this name.")
        return by_session(weights, self.id, alias, session_key) if session_key else by_chance(weights, chance)


_entries: dict[str, tuple[float, LiveFunction]] = {}
_in_use: dict[str, float] = {}
"""Function id -> when it was last called or changed, by `time.monotonic()`."""
_generation = 0
_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Have `listener` called with all news of this process: a function's id, a word of `announce`, or EVERYTHING. It
    must neither block nor raise."""
    _listeners.append(listener)


def unlisten(listener: Callable[[str], None]) -> None:
    """The end of `listen`."""
    _listeners.remove(listener)


def known(reference: str) -> LiveFunction | None:
    """From memory or not at all: never blocks. None too for what the caller may not see: `look_up` then takes as long
    to say so as for what does not exist."""
    return known_to(principal_var.get(), reference)


def known_to(principal: Principal, reference: str) -> LiveFunction | None:
    """As `known`, for somebody who is not the one of this request's context."""
    entry, now = _entries.get(reference), time.monotonic()
    if entry is None or now - entry[0] >= MAX_AGE_SEC:
        return None
    live = entry[1]
    _in_use[live.id] = now
    return live if principal.may_see(live.owner_id, live.shared) else None


def look_up(reference: str) -> LiveFunction:
    """From the database, into memory. Raises FunctionNotFound."""
    began, now = _generation, time.monotonic()
    live = _read(function_get(reference))
    _in_use[live.id] = now
    # A function named like another's id is found so only by those who may not see the other one.
    ambiguous = live.id != reference and as_uuid(reference) is not None
    # A change while the row was being read would otherwise be overwritten by what was read before it.
    if began == _generation and not ambiguous:
        if len(_entries) >= MAX_ENTRIES:
            _entries.clear()
        _entries[reference] = (now, live)
    return live


def refresh(now: float) -> set[int | None]:
    """Read what is in use again, all of it with a few queries; `now` is of `time.monotonic()`. The owners of what is in
    use. Raises DatabaseError."""
    began = _generation
    for function_id, used_at in list(_in_use.items()):
        if now - used_at > IN_USE_SEC:
            _in_use.pop(function_id, None)
    latest = sorted(_in_use, key=lambda one: _in_use.get(one, 0.0))[-REFRESHED_AT_ONCE:]
    due = [one for one in latest if now - _read_at(one) >= REFRESH_SEC and as_uuid(one) is not None]
    found = _read_all(list(Function.objects.filter(pk__in=due))) if due else {}
    # As in `look_up`. The news has asked for another round.
    if began == _generation:
        for live in found.values():
            _entries[live.id] = (now, live)
            if as_uuid(live.name) is None:
                _entries[live.name] = (now, live)
        for gone in set(due) - found.keys():
            _in_use.pop(gone, None)
    return {entry[1].owner_id for one in latest if (entry := _entries.get(one)) is not None}


def _read_at(function_id: str) -> float:
    entry = _entries.get(function_id)
    return entry[0] if entry is not None else float("-inf")


def check_version(function: LiveFunction, version: int) -> None:
    """See to it that this version can be run, and remember it. Raises VersionNotFound."""
    if version in function.timeouts:
        return
    rows = FunctionVersion.objects.filter(function_id=function.id, version=version, is_ready=True)
    row = rows.values_list("timeout_sec", "input_schema").first()
    if row is None:
        raise VersionNotFound(f"The function {function.name} has no version {version} that can run.")
    timeout_sec, schema = row
    if schema:
        function.schemas[version] = input_schema.stored(schema)
    function.timeouts[version] = timeout_sec


def _read(function: Function) -> LiveFunction:
    live = _read_all([function]).get(str(function.pk))
    if live is None:
        raise FunctionNotFound("There is no function of this id or name.")  # deleted since it was read
    return live


def _read_all(functions: list[Function]) -> dict[str, LiveFunction]:
    """By id, without those that were deleted since they were read."""
    aliases: dict[UUID, dict[str, Weights]] = {function.pk: {} for function in functions}
    for function_id, name, sides in Alias.objects.filter(function__in=functions).values_list(
        "function_id", "name", "weights"
    ):
        aliases[function_id][name] = as_weights(sides)
    versions: dict[UUID, list[tuple[int, int, Any]]] = {function.pk: [] for function in functions}
    wanted = [Q(function=function, version__in=_named(function, aliases[function.pk])) for function in functions]
    rows = FunctionVersion.objects.filter(reduce(or_, wanted, Q(pk__in=[])))
    for function_id, *row in rows.values_list("function_id", "version", "timeout_sec", "input_schema"):
        versions[function_id].append((row[0], row[1], row[2]))
    overrides = overrides_by_function(functions)
    lives = {
        str(function.pk): _live(function, aliases[function.pk], versions[function.pk], overrides[function.pk])
        for function in functions
    }
    return {function_id: live for function_id, live in lives.items() if live is not None}


def _newest(function: Function) -> int:
    """While the first version is being built there is none that could run; its timeout stands in."""
    return function.latest_version or function.last_number


def _named(function: Function, aliases: Mapping[str, Weights]) -> set[int]:
    """The versions to know of: the newest, those of aliases, and what calls have asked for by number."""
    entry = _entries.get(str(function.pk))
    asked = set(entry[1].timeouts) if entry is not None else set()
    return {_newest(function), *asked, *(version for weights in aliases.values() for version, _ in weights)}


def _live(
    function: Function,
    aliases: Mapping[str, Weights],
    versions: list[tuple[int, int, Any]],
    environments: Mapping[str, Overrides],
) -> LiveFunction | None:
    timeouts = {version: timeout_sec for version, timeout_sec, _ in versions}
    if _newest(function) not in timeouts:
        return None
    return LiveFunction(
        id=str(function.pk),
        name=function.name,
        status=function.status,
        runtime=function.runtime,
        version=function.latest_version,
        timeout_sec=timeouts[_newest(function)],
        max_concurrency=function.max_concurrency,
        max_retries=function.max_retries,
        max_event_age_sec=function.max_event_age_sec,
        on_success=function.on_success,
        on_failure=function.on_failure,
        owner_id=function.owner_id,
        shared=function.shared,
        generation=function.generation,
        environments=environments,
        aliases=aliases,
        schemas={version: input_schema.stored(schema) for version, _, schema in versions if schema},
        timeouts=timeouts if function.latest_version else {},
    )


def forget(function_id: str, name: str = "") -> None:
    """Drop what is remembered of one function."""
    global _generation
    _generation += 1
    for reference, (_, live) in list(_entries.items()):
        if live.id == function_id or live.name == name:
            _entries.pop(reference, None)
    if len(_in_use) >= MAX_ENTRIES:
        _in_use.clear()
    _in_use[function_id] = time.monotonic()
    _tell_listeners(function_id)


def hear(news: str) -> None:
    """A message of the channel CHANGES."""
    if news == EVERYTHING:
        forget_all()
    else:
        forget(news)


def forget_all() -> None:
    """When messages may have been missed."""
    global _generation
    _generation += 1
    _entries.clear()
    _tell_listeners(EVERYTHING)


def _tell_listeners(news: str) -> None:
    for listener in list(_listeners):
        listener(news)


def announce(news: str) -> None:
    """As `changed`, for what is no function of its own: every process' listeners hear this word once the transaction is
    committed."""

    def tell() -> None:
        hear(news)
        redis.publish(redis.CHANGES, news)

    transaction.on_commit(tell)


def changed(function: Function) -> None:
    """Call inside the transaction of a change: once committed, every process drops its entry."""
    function_id, name = str(function.pk), function.name

    def tell() -> None:
        forget(function_id, name)
        redis.publish(redis.CHANGES, function_id)

    transaction.on_commit(tell)


def everything_changed() -> None:
    """As `changed`, for what concerns every function."""

    def tell() -> None:
        forget_all()
        redis.publish(redis.CHANGES, EVERYTHING)

    transaction.on_commit(tell)
