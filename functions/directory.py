"""The web process's directory of functions: what an invoke needs to know, from memory.

An entry is dropped the moment this process changes the function, within a message's travel when another does
(`nimbus_project.core.redis.CHANGES`), and after MAX_AGE_SEC in any case, should a message be lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from accounts.principal import Principal, principal_var
from functions import input_schema
from functions.configuration import NOTHING, Overrides, all_overrides
from functions.errors import AliasNotFound, EnvironmentNotFound, FunctionNotFound, VersionNotFound
from functions.models import INVOKABLE, Alias, Function, FunctionVersion
from functions.routing import Weights, as_weights, by_chance, by_session
from functions.selectors import function_get
from nimbus_project.core import redis
from nimbus_project.core.ids import as_uuid

MAX_AGE_SEC = 5.0
MAX_ENTRIES = 10_000
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
_generation = 0
_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Have `listener` called with all news of this process: a function's id, a word of `announce`, or EVERYTHING. It
    must neither block nor raise."""
    _listeners.append(listener)


def known(reference: str) -> LiveFunction | None:
    """From memory or not at all: never blocks. None too for what the caller may not see: `look_up` then takes as long
    to say so as for what does not exist."""
    return known_to(principal_var.get(), reference)


def known_to(principal: Principal, reference: str) -> LiveFunction | None:
    """As `known`, for somebody who is not the one of this request's context."""
    entry = _entries.get(reference)
    if entry is None or time.monotonic() - entry[0] >= MAX_AGE_SEC:
        return None
    live = entry[1]
    return live if principal.may_see(live.owner_id, live.shared) else None


def look_up(reference: str) -> LiveFunction:
    """From the database, into memory. Raises FunctionNotFound."""
    began = _generation
    live = _read(function_get(reference))
    # A function named like another's id is found so only by those who may not see the other one.
    ambiguous = live.id != reference and as_uuid(reference) is not None
    # A change while the row was being read would otherwise be overwritten by what was read before it.
    if began == _generation and not ambiguous:
        if len(_entries) >= MAX_ENTRIES:
            _entries.clear()
        _entries[reference] = (time.monotonic(), live)
    return live


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
    stored = dict(Alias.objects.filter(function=function).values_list("name", "weights"))
    aliases = {name: as_weights(sides) for name, sides in stored.items()}
    # While the first version is being built there is none that could run; its timeout stands in.
    newest = function.latest_version or function.last_number
    named = {newest, *(version for weights in aliases.values() for version, _ in weights)}
    wanted = FunctionVersion.objects.filter(function=function, version__in=named)
    rows = list(wanted.values_list("version", "timeout_sec", "input_schema"))
    timeouts = {version: timeout_sec for version, timeout_sec, _ in rows}
    if newest not in timeouts:
        raise FunctionNotFound("There is no function of this id or name.")  # deleted since it was read
    return LiveFunction(
        id=str(function.pk),
        name=function.name,
        status=function.status,
        runtime=function.runtime,
        version=function.latest_version,
        timeout_sec=timeouts[newest],
        max_concurrency=function.max_concurrency,
        max_retries=function.max_retries,
        max_event_age_sec=function.max_event_age_sec,
        on_success=function.on_success,
        on_failure=function.on_failure,
        owner_id=function.owner_id,
        shared=function.shared,
        generation=function.generation,
        environments=all_overrides(function),
        aliases=aliases,
        schemas={version: input_schema.stored(schema) for version, _, schema in rows if schema},
        timeouts=timeouts if function.latest_version else {},
    )


def forget(function_id: str, name: str = "") -> None:
    """Drop what is remembered of one function."""
    global _generation
    _generation += 1
    for reference, (_, live) in list(_entries.items()):
        if live.id == function_id or live.name == name:
            _entries.pop(reference, None)
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
    for listener in _listeners:
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
