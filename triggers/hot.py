"""What strangers may call, answered before Django's handler: webhooks and custom routes."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from accounts import addresses
from accounts.principal import EMBEDDED, acting_as
from accounts.rights import Right
from functions import directory
from functions.directory import LiveFunction
from invocations import hops, services
from invocations.models import TriggerType
from invocations.services import NewInvocation
from nimbus_project.config import config
from nimbus_project.core.errors import Forbidden, InvalidRequest, NimbusError, NotFound
from nimbus_project.core.http import HttpRequest, json_answer
from nimbus_project.core.metrics import WEBHOOK_REQUESTS
from triggers import signing, webhook_directory
from triggers.cors import allows, preflight, with_cors
from triggers.errors import DeliveryReplayed, SignatureRefused
from triggers.gate import (
    Answer,
    Gate,
    answer_of,
    checked_size,
    from_http,
    function_of,
    not_allowed,
    own_id,
    refusal,
    told,
)
from triggers.http_answers import Pairs, Passed
from triggers.http_events import CREDENTIALS, RawHeaders, RouteFrame, route_frame, webhook_event
from triggers.receipt import Receipt
from triggers.route_table import Match, Route, allowed, choose
from triggers.signing import Scheme
from triggers.webhook_directory import LiveWebhook

MAX_SESSION_KEY = 256


# -- webhooks


async def webhook(request: HttpRequest, gate: Gate) -> Answer:
    """`POST /webhook/{key}`: what its sender may do is in the webhook's row; the answer is the function's, or 202."""
    if request.method != "POST":
        return not_allowed(request, "POST")
    (key,) = request.path_args
    digest = webhook_directory.digest_of(key)
    found = webhook_directory.known(digest) or await gate.desk.in_thread(webhook_directory.look_up, digest)
    try:
        live = webhook_directory.checked(found, digest)
    except NimbusError as error:
        WEBHOOK_REQUESTS.labels("", error.error_code).inc()
        return refusal(error, request)
    # Let in by its own key: what follows is the platform's doing, on the function's account.
    with acting_as(EMBEDDED):
        receipt = Receipt(live, request.request_id, gate.door.address(request.scope))
        return await _Delivery(request, live, gate, receipt).answer()


@dataclass(slots=True)
class _Delivery:
    """One request to a webhook that exists."""

    request: HttpRequest
    live: LiveWebhook
    gate: Gate
    receipt: Receipt

    async def answer(self) -> Answer:
        code = ""
        try:
            answer = await self._checked()
        except NimbusError as error:
            answer, code = refusal(told(error), self.request), error.error_code
        self.receipt.close(answer.status, code)
        return answer

    async def _checked(self) -> Answer:
        """In this order, so that a request costs no more than it has shown to be worth: who, how often, how much, and
        only then what it says."""
        live, gate, receipt = self.live, self.gate, self.receipt
        function = await function_of(live.function_id, gate.desk)
        receipt.function_name = function.name
        if live.networks and not addresses.is_within(receipt.address, live.networks):
            raise Forbidden("This address may not call here.", code="address_not_allowed")
        await gate.door.count("webhook", live.function_id, live.rate_limit_per_min)
        body = await self.request.body(config().max_event_bytes)
        receipt.size_bytes = len(body)
        receipt.verdict = verdict = signing.verify(live.signature, self.request.raw_headers, body, time.time())
        if verdict.problem is not None:
            raise SignatureRefused("The signature is missing or wrong. The function's log of deliveries says more.")
        marks = verdict.marks
        if not await gate.replays.take(live.function_id, marks, verdict.marks_sec):
            raise seen_before()
        is_taken = False
        try:
            answer = await self._called(function, body)
            is_taken = answer.status < 400
            return answer
        finally:
            if not is_taken:
                await gate.replays.give_back(live.function_id, marks)

    async def _called(self, function: LiveFunction, body: bytes) -> Answer:
        request, desk = self.request, self.gate.desk
        version, alias, session_key = await self._chosen(function)
        event = event_of(self.live, request.scope["headers"], request.scope["query_string"], body)
        new = NewInvocation(
            function=function,
            event=checked_size(event),
            request_id=request.request_id,
            id=own_id(request),
            trigger_type=TriggerType.WEBHOOK,
            version=version,
            alias=alias,
            session_key=session_key,
            hops=hops.told(request.header(hops.HEADER)),
        )
        if self.live.is_async:
            row = await desk.in_thread(services.submit, new)
            self.receipt.invocation_id = str(row.pk)
            shape = {"request_id": row.request_id, "invocation_id": str(row.pk), "status": "accepted"}
            return from_http(json_answer(shape, status=202), request)
        run = await desk.call(new)
        self.receipt.invocation_id = str(new.id)
        answer = answer_of(run, request)
        return answer.with_headers(no_page(answer.passed.headers))

    async def _chosen(self, function: LiveFunction) -> tuple[int | None, str, str]:
        """Version, alias and session key that the query asks for, as at `/invoke`."""
        query = self.request.query
        session_key = self.request.header(b"x-nimbus-session") or query.get("session_key", "")
        if len(session_key) > MAX_SESSION_KEY or not session_key.isprintable():
            raise InvalidRequest(f"The session key must be at most {MAX_SESSION_KEY} printable characters.")
        alias, number = query.get("alias", ""), query.get("version", "")
        if alias and number:
            raise InvalidRequest("Give either alias or version, not both.")
        if alias:
            return function.route(alias, session_key, random.random()), alias, session_key
        if not number:
            return None, "", session_key
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            raise InvalidRequest("version must be a number.", details={"version": ["Must be a positive integer."]})
        if int(number) not in function.timeouts:
            await self.gate.desk.in_thread(directory.check_version, function, int(number))
        return int(number), "", session_key


def event_of(live: LiveWebhook, headers: RawHeaders, query_string: bytes, body: bytes) -> bytes:
    """What the function hears."""
    # Whoever checks signatures in the code needs the bytes; where they were checked here nobody does.
    return webhook_event(headers, query_string, body, raw_json=live.signature.scheme is Scheme.NONE)


def no_page(headers: Pairs) -> Pairs:
    """Nobody looks at an answer in a browser; should somebody be made to, it is no page of this host."""
    return (*headers, (b"content-security-policy", b"sandbox"))


def seen_before() -> DeliveryReplayed:
    return DeliveryReplayed("This delivery has been here before.")


# -- custom routes


def is_preflight(request: HttpRequest) -> bool:
    return request.method == "OPTIONS" and bool(
        request.header(b"origin") and request.header(b"access-control-request-method")
    )


def meant(routes: list[Route], request: HttpRequest) -> Match | None:
    """The route that a request is for: a preflight's is the one that it asks about."""
    method = request.method
    if is_preflight(request):
        method = request.header(b"access-control-request-method")
    return choose(routes, method, request.scope["path"])


def opens_to(routes: list[Route], request: HttpRequest) -> bool:
    """Whether a page of another site may call this, by what the route's owner has said."""
    match = meant(routes, request)
    return match is not None and bool(match.route.cors) and allows(match.route.cors, request.header(b"origin"))


async def route(request: HttpRequest, routes: list[Route], gate: Gate) -> Answer:
    """Whatever `routes`, those that match the path, say to this method."""
    origin = request.header(b"origin")
    match = meant(routes, request)
    if request.method == "OPTIONS" and (made := _options(request, routes, match, origin)) is not None:
        return made
    match = choose(routes, request.method, request.scope["path"])
    if match is None:
        return not_allowed(request, ", ".join(allowed(routes)))
    try:
        answer = await _call_route(request, match, gate)
    except NimbusError as error:
        answer = refusal(told(error), request)
    if cors := match.route.cors:
        # Refusals too: a page that may call must also be able to read why it was refused.
        answer = answer.with_headers(with_cors(answer.passed.headers, cors, origin))
    return answer


def _options(request: HttpRequest, routes: list[Route], match: Match | None, origin: str) -> Answer | None:
    """What the platform says itself; None where it is for the function to say."""
    if is_preflight(request) and match is not None and match.route.cors:
        cors = match.route.cors
        if not allows(cors, origin):
            return refusal(Forbidden("Pages of this origin may not call here.", code="origin_not_allowed"), request)
        asked = request.header(b"access-control-request-headers")
        headers = preflight(cors, match.route.methods, origin, asked)
        return Answer(Passed(204, headers, b""), request.request_id)
    if any("OPTIONS" in one.methods for one in routes):
        return None
    return Answer(Passed(204, ((b"allow", ", ".join(allowed(routes)).encode()),), b""), request.request_id)


async def _call_route(request: HttpRequest, match: Match, gate: Gate) -> Answer:
    if not match.route.may_be_called:
        raise NotFound("There is nothing at this address.")
    if match.route.needs_key:
        await gate.door.admit(request.scope, request.raw_headers, Right.INVOKE)
        return await _run_route(request, match, gate)
    await gate.door.admit_stranger(request.scope)
    with acting_as(EMBEDDED):
        return await _run_route(request, match, gate)


def frame_of(match: Match, method: str, path: str, headers: RawHeaders, query_string: bytes) -> RouteFrame:
    """What the function hears of a request but for its body."""
    return route_frame(
        # The code of a GET need not know of HEAD.
        "GET" if method == "HEAD" and "HEAD" not in match.route.methods else method,
        path,
        match.parameters,
        headers,
        query_string,
        # What let the caller in is between it and the platform.
        hidden=CREDENTIALS if match.route.needs_key else frozenset(),
    )


async def _run_route(request: HttpRequest, match: Match, gate: Gate) -> Answer:
    function = await function_of(match.route.function_id, gate.desk)
    body = await request.body(config().max_event_bytes)
    scope = request.scope
    frame = frame_of(match, request.method, scope["path"], scope["headers"], scope["query_string"])
    new = NewInvocation(
        function=function,
        event=checked_size(frame.event(body)),
        request_id=request.request_id,
        id=own_id(request),
        trigger_type=TriggerType.ROUTE,
    )
    return answer_of(await gate.desk.call(new), request)
