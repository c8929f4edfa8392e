"""The express way of webhooks: a delivery to a webhook that is known here, in mode `sync`, is sent on from the parser
without a task for it. Who, how often, and whose signature: asked by the functions that `hot.webhook` asks by, and for
whatever is not plain, or would be refused, asked there, as if nothing had happened.

A signed delivery waits for Redis, which knows whether it has been here before, and only then runs.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from accounts import addresses
from accounts.door import Door, Recognised
from accounts.principal import EMBEDDED
from functions import directory
from functions.directory import LiveFunction
from invocations.direct import Link
from invocations.dispatch import Dispatch, ExpressCall, Reply, is_plain_head
from invocations.models import TriggerType
from invocations.record import RunRecord
from nimbus_project.config import Config
from nimbus_project.core.errors import NimbusError
from nimbus_project.core.http import Scope
from nimbus_project.core.ids import new_id_text
from triggers import hot, signing, webhook_directory
from triggers.gate import Gate, passed_of, refused, reply_of, told
from triggers.http_answers import Passed
from triggers.receipt import Receipt
from triggers.webhook_directory import LiveWebhook

_BEFORE = b"/webhook/"
# A request with one of these is not plain.
_SPECIAL = frozenset({b"expect", b"transfer-encoding", b"upgrade", b"x-nimbus-session", b"x-request-id"})
_TRIGGER = str(TriggerType.WEBHOOK)


@dataclass(slots=True)
class Habit:
    """What one connection asked for last."""

    url: bytes = b""
    digest: bytes = b""
    live: LiveWebhook | None = None
    who: Recognised | None = None


class ExpressWebhooks:
    """One per web process."""

    def __init__(self, settings: Config, dispatch: Dispatch, door: Door, gate: Gate) -> None:
        self._dispatch = dispatch
        self._door = door
        self._gate = gate
        self._max_event_bytes = settings.max_event_bytes

    def new_habit(self) -> Habit:
        return Habit()

    def takes(self, scope: Scope, method: bytes, url: bytes, habit: object) -> bool:
        """Nothing of the key is said here: what is not known takes the same time as what is none."""
        return (
            url.startswith(_BEFORE)
            and method == b"POST"
            and not url.endswith(b"/")
            and url.isascii()
            and b"?" not in url
            and b"%" not in url
            and b"#" not in url
            and is_plain_head(scope["headers"], _SPECIAL)
        )

    def begin(self, scope: Scope, method: bytes, url: bytes, body: bytes, habit: object, call: ExpressCall) -> bool:
        habit = cast(Habit, habit)
        live = self._known(url, habit)
        if live is None or live.is_async:
            return False
        function = directory.known_to(EMBEDDED, live.function_id)
        link = self._dispatch.link_for(function) if function is not None else None
        if function is None or link is None:
            return False
        who = self._sender(scope, live, habit)
        if live.networks and not addresses.is_within(who.principal.address, live.networks):
            return False
        # Who comes too often is not worth the work that follows.
        if not self._door.has_room(who):
            return False
        headers, now = scope["headers"], time.time()
        verdict = signing.verify(live.signature, dict(headers), body, now)
        if verdict.problem is not None:
            return False
        event = hot.event_of(live, headers, b"", body)
        if len(event) > self._max_event_bytes:
            return False
        self._door.spend(who, now)
        call.request_id = new_id_text()
        receipt = Receipt(live, call.request_id, who.principal.address, function.name, verdict, len(body))
        delivery = call.teller = _Delivery(self._gate, receipt, self._dispatch, function, event)
        if verdict.marks and verdict.marks_sec > 0:
            self._gate.replays.ask(live.function_id, verdict.marks, verdict.marks_sec, partial(delivery.told, call))
        else:
            delivery.send(call, link, now)
        return True

    def _known(self, url: bytes, habit: Habit) -> LiveWebhook | None:
        if url != habit.url:
            habit.url, habit.digest = url, webhook_directory.digest_of(url[len(_BEFORE) :].decode())
        digest = habit.digest
        try:
            return webhook_directory.checked(webhook_directory.known(digest), digest)
        except NimbusError:
            return None

    def _sender(self, scope: Scope, live: LiveWebhook, habit: Habit) -> Recognised:
        who = habit.who
        if who is None or live is not habit.live or self._door.address(scope) != who.principal.address:
            limit = (f"webhook:{live.function_id}", live.rate_limit_per_min)
            habit.live, habit.who = live, self._door.stranger(scope, limit)
            who = habit.who
        return who


@dataclass(slots=True)
class _Delivery:
    """One that was let in; what its sender is told. It does not know its call, which knows it: what point at each other
    wait for a collection."""

    gate: Gate
    receipt: Receipt
    dispatch: Dispatch
    function: LiveFunction
    event: bytes
    is_marked: bool = False

    def told(self, call: ExpressCall, taken: bool | NimbusError) -> None:
        """Whether it is the first of its like."""
        if isinstance(taken, NimbusError):
            call.set_exception(taken)
        elif not taken:
            call.set_exception(hot.seen_before())
        else:
            self.is_marked = True
            self.send(call, self.dispatch.lane_of(self.function), time.time())

    def send(self, call: ExpressCall, link: Link | None, now: float) -> None:
        self.dispatch.send(call, link, self.function, self.event, EMBEDDED, now, _TRIGGER)

    def ended(self, call: ExpressCall, run: RunRecord) -> Reply | Coroutine[Any, Any, Reply]:
        self.receipt.invocation_id = call.request_id
        passed = passed_of(run)
        return self._reply(Passed(passed.status, hot.no_page(passed.headers), passed.body), "")

    def refused(self, call: ExpressCall, error: NimbusError) -> Reply | Coroutine[Any, Any, Reply]:
        return self._reply(refused(told(error), call.request_id), error.error_code)

    def _reply(self, passed: Passed, code: str) -> Reply | Coroutine[Any, Any, Reply]:
        self.receipt.close(passed.status, code)
        reply = reply_of(passed, self.receipt.request_id)
        return self._given_back(reply) if self.is_marked and passed.status >= 400 else reply

    async def _given_back(self, reply: Reply) -> Reply:
        """It came to nothing: whoever has this answer may try again."""
        receipt = self.receipt
        await self.gate.replays.give_back(receipt.live.function_id, receipt.verdict.marks)
        return reply
