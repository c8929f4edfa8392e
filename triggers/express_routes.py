"""The express way of custom routes: a call of a route that is known here, by a sender who is, is sent on from the
parser in one step. What is asked is asked by the functions that `hot.route` and `outside.py` ask it by; whatever is not
plain, or would be refused, goes that way, as if nothing had happened.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import cast

from accounts.door import Door, Recognised
from accounts.principal import EMBEDDED, Principal
from accounts.rights import Right
from functions import directory
from invocations.dispatch import Dispatch, ExpressCall, Reply, is_plain_head
from invocations.models import TriggerType
from invocations.record import RunRecord
from nimbus_project.config import Config
from nimbus_project.core.errors import NimbusError
from nimbus_project.core.http import Scope, guard
from nimbus_project.core.ids import new_id_text
from triggers import hot, routes
from triggers.cors import allows, with_cors
from triggers.gate import passed_of, refused, reply_of, told
from triggers.http_answers import Passed
from triggers.http_events import RouteFrame
from triggers.outside import Outside
from triggers.route_table import Route, RouteTable, choose

METHODS = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"})
# A request with one of these is not plain.
_SPECIAL = frozenset({b"expect", b"transfer-encoding", b"upgrade", b"x-request-id"})
_TRIGGER = str(TriggerType.ROUTE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What all requests with one head have in common."""

    route: Route
    origin: str
    who: Recognised
    principal: Principal
    """In whose name it runs."""
    frame: RouteFrame
    outside: Outside

    def ended(self, call: ExpressCall, run: RunRecord) -> Reply:
        return self._reply(call, passed_of(run))

    def refused(self, call: ExpressCall, error: NimbusError) -> Reply:
        return self._reply(call, refused(told(error), call.request_id))

    def _reply(self, call: ExpressCall, passed: Passed) -> Reply:
        headers = passed.headers
        if self.route.cors:
            headers = with_cors(headers, self.route.cors, self.origin)
        whole = Passed(passed.status, self.outside.sandboxed(headers), passed.body)
        return reply_of(whole, call.request_id)


@dataclass(slots=True)
class Habit:
    """What one connection asked for last."""

    method: bytes = b""
    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    table: RouteTable | None = None
    plan: Plan | None = None


class ExpressRoutes:
    """One per web process."""

    def __init__(
        self, settings: Config, dispatch: Dispatch, door: Door, outside: Outside, hosts: frozenset[str]
    ) -> None:
        self._dispatch = dispatch
        self._door = door
        self._outside = outside
        self._hosts = hosts
        self._max_event_bytes = settings.max_event_bytes

    def new_habit(self) -> Habit:
        return Habit()

    def takes(self, scope: Scope, method: bytes, url: bytes, habit: object) -> bool:
        table = routes.known()
        if table is None or table.is_empty or method not in METHODS:
            return False
        habit, headers = cast(Habit, habit), scope["headers"]
        if (
            habit.plan is not None
            and habit.table is table
            and habit.url == url
            and habit.method == method
            and habit.headers == headers
        ):
            return True
        habit.plan = self._plan(scope, method, url) if is_plain_head(headers, _SPECIAL) else None
        habit.method, habit.url, habit.headers, habit.table = method, url, headers, table
        return habit.plan is not None

    def begin(self, scope: Scope, method: bytes, url: bytes, body: bytes, habit: object, call: ExpressCall) -> bool:
        habit, now = cast(Habit, habit), time.time()
        plan = habit.plan
        # While the body was on its way the table may have changed.
        if plan is None or routes.known() is not habit.table or not plan.who.still_holds(now):
            habit.plan = None
            return False
        function = directory.known_to(plan.principal, plan.route.function_id)
        link = self._dispatch.link_for(function) if function is not None else None
        if function is None or link is None:
            return False
        event = plan.frame.event(body)
        if len(event) > self._max_event_bytes or not self._door.has_room(plan.who):
            return False
        self._door.spend(plan.who, now)
        call.request_id, call.teller = new_id_text(), plan
        self._dispatch.send(call, link, function, event, plan.principal, now, _TRIGGER)
        return True

    def _plan(self, scope: Scope, method: bytes, url: bytes) -> Plan | None:
        raw_path, _, query = url.partition(b"?")
        if b"%" in raw_path or b"#" in url or not raw_path.isascii() or raw_path.endswith(b"/"):
            return None
        path, verb, headers = raw_path.decode(), method.decode(), dict(scope["headers"])
        match = choose(self._outside.known_routes(path, headers), verb, path)
        if match is None or not match.route.may_be_called:
            return None
        route, origin = match.route, headers.get(b"origin", b"").decode("latin-1")
        who = self._sender(scope, headers, route)
        if who is None or not self._passes(verb, headers, route, origin):
            return None
        frame = hot.frame_of(match, verb, path, scope["headers"], query)
        principal = who.principal if route.needs_key else EMBEDDED
        return Plan(route, origin, who, principal, frame, self._outside)

    def _sender(self, scope: Scope, headers: dict[bytes, bytes], route: Route) -> Recognised | None:
        if route.needs_key:
            return self._door.recognise(scope, headers, Right.INVOKE)
        return self._door.stranger(scope)

    def _passes(self, method: str, headers: dict[bytes, bytes], route: Route, origin: str) -> bool:
        """The guard, or by it, as `Asked.passes_guard`."""
        if route.cors and allows(route.cors, origin):
            return True
        try:
            guard(method, headers, self._hosts)
        except NimbusError:
            return False
        return True
