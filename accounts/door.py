"""The door of one web process: rate limits, who is asking, and whether they may. The entrance (asgi.py) asks it for
each request; what it decides is the same for routes before Django and under it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from django.db import DatabaseError

from accounts import addresses, directory, permissions
from accounts.authentication import Authenticator, Headers, InThread
from accounts.directory import KnownKey
from accounts.limits import Limiter, Standing, tighter
from accounts.principal import NOBODY, Principal, principal_var
from accounts.rights import Right
from nimbus_project.config import Config
from nimbus_project.core import redis
from nimbus_project.core.errors import NimbusError, RateLimited
from nimbus_project.core.http import SAFE_METHODS, Scope

log = logging.getLogger("nimbus.door")

_PROBES = "/health"
# Above it, all is DRF: its views are exempt from Django's own CSRF check.
_API = "/api/"
_LOGINS = frozenset({"/login", "/admin/login"})
_LOGINS_PER_MIN = 20
"""From one address: passwords have less chance than keys."""
_PATIENCE_SEC = 0.25
_WRITE_USES_SEC = 60.0


class Refused(RateLimited):
    """Over a rate limit; says where the caller stands."""

    def __init__(self, standing: Standing, whose: str) -> None:
        super().__init__(
            f"More than {standing.limit} requests in a minute from this {whose}. Try again in {standing.reset_sec} s.",
            retry_after_sec=standing.reset_sec,
        )
        self.standing = standing


@dataclass(frozen=True, slots=True)
class Recognised:
    """Who sent a request, as far as memory knows. True until the key's entry in the directory changes."""

    principal: Principal
    key: KnownKey | None
    limits: tuple[tuple[str, int], ...]
    """Subjects and their limits of requests a minute."""

    def still_holds(self, now: float) -> bool:
        """`now` in Unix seconds."""
        key = self.key
        if key is None:
            return True
        return directory.known(key.prefix) is key and (key.expires_at is None or key.expires_at > now)


class Door:
    """Lives in the event loop of its process."""

    def __init__(self, config: Config, in_thread: InThread) -> None:
        self._authenticator = Authenticator(config)
        self._in_thread = in_thread
        self._keys_required = config.keys_required
        self._key_limit = config.rate_limit_per_min
        self._address_limit = config.rate_limit_address_per_min
        self._redis = redis.async_connection(patience_sec=_PATIENCE_SEC)
        self._limiter = Limiter(self._redis)
        self._writer = asyncio.create_task(self._write_uses())

    async def close(self) -> None:
        self._limiter.close()
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writer
        with contextlib.suppress(DatabaseError):
            await self._in_thread(directory.write_uses)
        await self._redis.aclose()

    async def admit(self, scope: Scope, headers: Headers, right: Right | None) -> Standing | None:
        """Let a request in, or raise Unauthorized, Forbidden, RateLimited. `right` is what a hot route asks for; None
        asks Django's routes. Sets `principal_var`; answers with the rate limit's standing, where there is one."""
        principal_var.set(NOBODY)
        path: str = scope["path"]
        if path.startswith(_PROBES):
            return None
        address = self.address(scope)
        if self._authenticator.over_tls(scope):
            # Django tells its own pages' origin by it; else no form would be accepted behind such a proxy.
            scope["scheme"] = "https"
        standing = await self.count("address", address, self._limit_of(address))
        if scope["method"] == "POST" and path.rstrip("/") in _LOGINS:
            await self.count("login", address, _LOGINS_PER_MIN)
        check_csrf = scope["method"] not in SAFE_METHODS and (right is not None or path.startswith(_API))
        principal = await self._authenticator.identify(scope, headers, address, self._in_thread, check_csrf=check_csrf)
        if principal.key_prefix:
            standing = tighter(standing, await self.count("key", principal.key_prefix, self._key_limit))
        self._check(principal, scope, right)
        principal_var.set(principal)
        return standing

    def recognise(self, scope: Scope, headers: Headers, right: Right) -> Recognised | None:
        """As `admit`, from memory and without counting. None when that takes more than memory, or would be refused:
        `admit` then says what to do and why."""
        try:
            found = self._authenticator.recognise(scope, headers)
            if found is None:
                return None
            principal, key = found
            permissions.check(principal, right)
        except NimbusError:
            return None
        limits = [(f"address:{principal.address}", self._limit_of(principal.address))]
        if key is not None:
            limits.append((f"key:{key.prefix}", self._key_limit))
        return Recognised(principal, key, tuple((subject, limit) for subject, limit in limits if limit))

    def stranger(self, scope: Scope, *more: tuple[str, int]) -> Recognised:
        """As `admit_stranger`, without counting. `more`: subjects with limits of their own that count it too."""
        address = self.address(scope)
        limits = ((f"address:{address}", self._limit_of(address)), *more)
        principal = Principal(role=NOBODY.role, address=address)
        return Recognised(principal, None, tuple(pair for pair in limits if pair[1]))

    def has_room(self, who: Recognised) -> bool:
        """Whether one more request of who was recognised can be counted in memory: else Redis must be asked, or it is
        refused."""
        return all(self._limiter.has_room(subject) for subject, _ in who.limits)

    def spend(self, who: Recognised, now: float) -> Standing | None:
        """Count one request of who was recognised and has room. `now` in Unix seconds; answers as `admit`."""
        limiter = self._limiter
        standing: Standing | None = None
        for subject, limit in who.limits:
            standing = tighter(standing, limiter.spend(subject, limit))
        if who.key is not None:
            directory.note_use(who.key.prefix, now)
        return standing

    async def admit_stranger(self, scope: Scope) -> None:
        """Let in whoever comes, unless over the limit of its address (RateLimited): what credentials the request may
        have are not for the platform. `principal_var` is nobody at this address."""
        address = self.address(scope)
        principal_var.set(Principal(role=NOBODY.role, address=address))
        await self.count("address", address, self._limit_of(address))

    def address(self, scope: Scope) -> str:
        """The client's, as far as it can be believed."""
        return self._authenticator.address(scope)

    def _check(self, principal: Principal, scope: Scope, right: Right | None) -> None:
        if right is not None:
            permissions.check(principal, right)
        else:
            permissions.check_path(principal, scope["path"], scope["method"])

    def _limit_of(self, address: str) -> int:
        """None for one's own laptop."""
        if not self._address_limit or (not self._keys_required and addresses.is_loopback(address)):
            return 0
        return self._address_limit

    async def count(self, kind: str, subject: str, limit: int) -> Standing | None:
        """One request of a `kind` of subject with a limit of its own; 0: none. Raises Refused."""
        if not limit:
            return None
        standing = await self._limiter.take(f"{kind}:{subject}", limit)
        if standing is not None and not standing.allowed:
            raise Refused(standing, kind)
        return standing

    async def _write_uses(self) -> None:
        """Store when keys were last used, behind everybody's back."""
        while True:
            await asyncio.sleep(_WRITE_USES_SEC)
            try:
                await self._in_thread(directory.write_uses)
            except DatabaseError:
                log.warning("when keys were last used could not be stored; it is tried again")
