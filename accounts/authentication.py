"""Who is asking, decided at the entrance: an API key, else a session, else embedded mode, else nobody.

A key that was seen lately costs microseconds and no database query. What is wrong is refused, never overlooked: a bad
key is a 401 also where no key would have been needed.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from accounts import addresses, directory, keys, sessions
from accounts.directory import KnownKey
from accounts.principal import EMBEDDED, NOBODY, Principal
from nimbus_project.config import Config
from nimbus_project.core.errors import Unauthorized
from nimbus_project.core.http import Scope

Headers = dict[bytes, bytes]

_BEARER = b"bearer "


class InThread(Protocol):
    """Runs blocking work on a thread (`CallDesk.in_thread`)."""

    def __call__(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Awaitable[Any]: ...


class Authenticator:
    """The rules of one web process."""

    def __init__(self, config: Config) -> None:
        self._keys_required = config.keys_required
        self._trusted = config.trusted_networks

    def address(self, scope: Scope) -> str:
        """The client's, as far as it can be believed; empty when it is not known."""
        peer = scope["client"][0] if scope.get("client") else ""
        return addresses.client_address(peer, scope["headers"], self._trusted) if self._trusted else peer

    def over_tls(self, scope: Scope) -> bool:
        """Whether the client came by HTTPS to a proxy that is trusted."""
        peer = scope["client"][0] if scope.get("client") else ""
        return bool(self._trusted) and addresses.was_over_tls(peer, scope["headers"], self._trusted)

    async def identify(
        self, scope: Scope, headers: Headers, address: str, in_thread: InThread, *, check_csrf: bool
    ) -> Principal:
        """Raises Unauthorized for a key that is not valid, Forbidden for a session without its CSRF token."""
        if text := credential(headers):
            key = keys.parse(text)
            if key is None:
                raise _invalid()
            known = directory.known(key.prefix) or await in_thread(directory.look_up, key.prefix)
            return _principal(known, key.secret, address)
        if b"cookie" in headers:
            found: Principal | None = await in_thread(sessions.principal_from, scope, address, check_csrf=check_csrf)
            if found is not None:
                return found
        if self._is_embedded(scope, address):
            return Principal(role=EMBEDDED.role, address=address)
        return Principal(role=NOBODY.role, address=address)

    def recognise(self, scope: Scope, headers: Headers) -> tuple[Principal, KnownKey | None] | None:
        """`identify` from memory, for the plain case: a key that was seen lately, or embedded mode, and no proxy in
        between. None for all else. Raises Unauthorized."""
        if self._trusted or b"cookie" in headers or addresses.was_forwarded(scope["headers"]):
            return None
        address = self.address(scope)
        if text := credential(headers):
            key = keys.parse(text)
            known = directory.known(key.prefix) if key is not None else None
            return None if key is None or known is None else (_principal(known, key.secret, address), known)
        return (Principal(role=EMBEDDED.role, address=address), None) if self._is_embedded(scope, address) else None

    def _is_embedded(self, scope: Scope, address: str) -> bool:
        if self._keys_required or not addresses.is_loopback(address):
            return False
        # A proxy on this machine that nobody has declared trusted: everybody would come from loopback.
        return bool(self._trusted) or not addresses.was_forwarded(scope["headers"])


def credential(headers: Headers) -> str:
    """The key that a request shows, or the empty string."""
    given = headers.get(b"authorization")
    if given is not None and given[: len(_BEARER)].lower() == _BEARER:
        # A header that is there but empty is a wrong key, not none.
        return given[len(_BEARER) :].strip().decode("latin-1") or "-"
    given = headers.get(b"x-api-key")
    return "" if given is None else given.strip().decode("latin-1") or "-"


def _principal(known: KnownKey | None, secret: str, address: str) -> Principal:
    if known is None or not keys.matches(secret, known.secret_sha256):
        raise _invalid()
    principal = _holder(known, address)
    directory.note_use(known.prefix, time.time())
    return principal


def _holder(known: KnownKey, address: str) -> Principal:
    """Who holds this key, as long as it counts."""
    if known.revoked:
        raise Unauthorized("This API key was revoked.", code="key_revoked")
    if known.expires_at is not None and known.expires_at <= time.time():
        raise Unauthorized("This API key has expired.", code="key_expired")
    if not known.role:
        raise Unauthorized("The owner of this API key is not active any more.", code="key_revoked")
    return Principal(
        user_id=known.user_id, name=known.user_name, role=known.role, key_prefix=known.prefix, address=address
    )


async def identify_again(was: Principal, scope: Scope, in_thread: InThread) -> Principal:
    """The same caller with the rights of now, for an answer that outlasts the request: a key may be revoked or expire
    meanwhile, a role change, a session end. Raises Unauthorized."""
    if was.key_prefix:
        known = directory.known(was.key_prefix) or await in_thread(directory.look_up, was.key_prefix)
        if known is None:
            raise _invalid()
        return _holder(known, was.address)
    if was.user_id is None:
        return was
    found: Principal | None = await in_thread(sessions.principal_from, scope, was.address, check_csrf=False)
    if found is None or found.user_id != was.user_id:
        raise Unauthorized("This session has ended.", code="session_ended")
    return found


def _invalid() -> Unauthorized:
    return Unauthorized("This API key is not valid.", code="invalid_key")
