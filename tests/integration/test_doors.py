"""One table of calls against every door: the express way from the parser, the entrance's own, and DRF's view. Whichever
a request comes in by, it gets the same answer; and the express way is taken by all that is meant for it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from accounts import directory as known_keys
from accounts import quotas
from accounts.models import ApiKey, Quota
from functions import directory
from invocations import daily, services, slots
from invocations.express import Express
from nimbus_project import asgi
from nimbus_project.config import config
from nimbus_project.core import fleet, redis
from nimbus_project.core.ids import new_id
from tests.integration.accounts import make_key
from tests.integration.http_server import Client, HttpServer, Said, http_server
from tests.integration.plane import clean, wait_until

CALL = "/api/v1/functions/hello/invoke"
MAX_EVENT = 100_000
MAX_RATE = 1_200_000
OURS = "/api/v1/functions/ours/invoke"
ONE = "/api/v1/functions/one-at-a-time/invoke"
BY_HEADER = {"x-api-key": "{developer}"}
PREFLIGHT = {"origin": "http://evil.example", "access-control-request-method": "POST"}
KEYED = {"idempotency-key": "{door}"}
OVERRIDE = {"x-http-method-override": "POST"}
FORMS = {"content-type": "application/x-www-form-urlencoded"}
ECHO = "def main(event):\n    if event == 'fail':\n        raise ValueError('as told')\n    return event\n"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

# What no two answers have in common.
VOLATILE = ("request_id", "invocation_id", "duration_ms", "billed_time_ms", "cold_start", "start_kind", "stack_trace")
# What is told of the answer itself, by the server or by Django's middleware; all other headers count.
APART = {"date", "server", "content-length", "x-request-id", "vary", "x-content-type-options", "referrer-policy",
         "cross-origin-opener-policy", "x-frame-options", "connection", "set-cookie"}  # fmt: skip
COUNTERS = {"x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"}


class World:
    """A server, users with keys, functions in every state."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.clients = {door: Client(server.port) for door in DOORS}
        self.keys = {role: make_key(role, role) for role in ("admin", "developer", "viewer", "invoker")}
        self.keys |= {"other": make_key("other", "developer"), "revoked": make_key("gone", "developer")}
        self.keys |= {"expired": make_key("late", "developer"), "demoted": make_key("demoted", "developer")}
        ApiKey.objects.filter(owner__username="gone").update(revoked_at=timezone.now())
        ApiKey.objects.filter(owner__username="late").update(expires_at=timezone.now() - timedelta(days=1))
        get_user_model().objects.filter(username="demoted").update(is_active=False)
        known_keys.forget_all()
        self._make_functions()

    def _make_functions(self) -> None:
        for name, key, more in (
            ("hello", "developer", {}),
            ("one-at-a-time", "developer", {"max_concurrency": 1}),
            ("strict", "developer", {"input_schema": SCHEMA}),
            ("away", "developer", {}),
            ("others", "other", {}),
            ("ours", "other", {"shared": True}),
        ):
            self.manage("POST", "/functions", key=key, name=name, runtime="python3.11", handler="handler.main",
                        code=ECHO, **more)  # fmt: skip
        self.manage("PUT", "/functions/hello", description="two", code=ECHO + "# two\n")
        sides = [{"version": 1, "weight": 50}, {"version": 2, "weight": 50}]
        self.manage("POST", "/functions/hello/aliases", name="split", routing_config={"weights": sides})
        self.manage("POST", "/functions/away/offline")

    def manage(self, method: str, path: str, *, key: str = "developer", **body: Any) -> Any:
        headers = {"authorization": f"Bearer {self.keys[key]}", "content-type": "application/json"}
        said = self.clients["entrance"].send(
            method, f"/api/v1{path}", [("host", self.host), *headers.items()], json.dumps(body).encode(), chunked=False
        )
        assert said.status < 300, said
        return json.loads(said.body)

    @property
    def host(self) -> str:
        return self.clients["entrance"].host

    def id_of(self, name: str) -> str:
        return str(directory.look_up(name).id)

    def owner_of(self, name: str) -> int | None:
        return directory.look_up(name).owner_id


State = Callable[[World], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Case:
    """One request, and what every door says to it."""

    name: str
    status: int
    code: str = ""
    """Of a refusal."""
    method: str = "POST"
    path: str = CALL
    body: bytes = b'{"n": 1}'
    key: str = "developer"
    """Whose; empty: none."""
    headers: dict[str, str] = field(default_factory=dict)
    """Instead of, or beside, those of a plain request; an empty value takes one away."""
    more_headers: tuple[tuple[str, str], ...] = ()
    """Once more by the same name."""
    while_: State = lambda world: nullcontext()
    express: bool = False
    """Whether the express way takes it."""
    before: bytes | None = None
    """Sent first with the same headers."""
    told: Callable[[Any], object] = lambda body: True
    """Must be true of the answer's JSON."""


# -- states of the world


@contextmanager
def rate_used_up(world: World) -> Iterator[None]:
    """For this key, over all processes."""
    door = asgi.application._door
    assert door is not None
    client = redis.connection()
    (now, _) = client.time()  # type: ignore[misc]
    prefixes = ApiKey.objects.filter(owner__username="developer").values_list("prefix", flat=True)
    subject = f"key:{prefixes[0]}"
    client.hset(redis.LIMIT + subject, str(now), MAX_RATE)
    door._limiter._leases.clear()
    try:
        yield
    finally:
        client.delete(redis.LIMIT + subject)
        door._limiter._leases.clear()


@contextmanager
def day_limited(world: World, *, left: int) -> Iterator[None]:
    """A quota of the owner's, of which so many calls are left."""
    owner_id = world.owner_of("hello")
    used = daily._count(owner_id, timezone.now())
    with transaction.atomic():
        Quota.objects.create(owner_id=owner_id, max_invocations_per_day=used + left)
        quotas.changed()
    try:
        yield
    finally:
        with transaction.atomic():
            Quota.objects.all().delete()
            quotas.changed()
        redis.connection().delete(daily._key(owner_id, timezone.now()))


@contextmanager
def running_already(world: World) -> Iterator[None]:
    function_id = world.id_of("one-at-a-time")
    assert services.take_slot_for(function_id, "somebody's", 1, 60_000)
    try:
        yield
    finally:
        services.release_slot(function_id, "somebody's")


@contextmanager
def too_many_waiting(world: World) -> Iterator[None]:
    desk = asgi.application._desk
    assert desk is not None
    before, desk._max_waiting = desk._max_waiting, 0
    try:
        yield
    finally:
        desk._max_waiting = before


def deep(count: int) -> bytes:
    return b"[" * count + b"]" * count


def says(**wanted: Any) -> Callable[[Any], object]:
    return lambda body: body == body | wanted


HOSTILE = "x" * 300
TABLE = (
    # -- what works
    Case("plain", 200, express=True, told=says(version=2, body={"n": 1}, status_code=200)),
    Case("no body", 200, body=b"", express=True, told=says(body={})),
    Case("no type", 200, headers={"content-type": ""}, express=True),
    Case("by X-API-Key", 200, key="", headers=BY_HEADER, express=True),
    Case("bearer in small letters", 200, headers={"authorization": "bearer {developer}"}, express=True),
    Case("an invoker's key", 404, "function_not_found", key="invoker"),
    Case("an invoker's key, for what is shared", 200, key="invoker", path=OURS, express=True),
    Case("what another one shares", 200, path=OURS, express=True),
    Case("an admin's key", 200, key="admin", express=True),
    Case("by id", 200, path="/api/v1/functions/{hello}/invoke", express=True),
    Case("a failure of the function", 500, body=b'"fail"', express=True, told=says(error="as told", status_code=500)),
    Case("a large event", 200, body=b'"%s"' % (b"x" * 90_000), express=True),
    Case("NUL in a string", 200, body=b'"\\u0000"', express=True, told=says(body="\0")),
    Case("as deep as allowed", 200, body=deep(100), express=True),
    Case("with a charset", 200, headers={"content-type": "application/json; charset=utf-8"}),
    Case("+json", 200, headers={"content-type": "application/cloudevents+json"}),
    Case("a slash at the end", 200, path=CALL + "/"),
    Case("two slashes at the end", 200, path=CALL + "//"),
    Case("an escaped name", 200, path="/api/v1/functions/h%65llo/invoke"),
    Case("a version", 200, path=CALL + "?version=1", told=says(version=1)),
    Case("an alias", 200, path=CALL + "?alias=latest", told=says(version=2, alias_used="latest")),
    Case("a session on a split", 200, path=CALL + "?alias=split", headers={"x-nimbus-session": "s-1"}),
    Case("another session on a split", 200, path=CALL + "?alias=split&session_key=s-7"),
    Case("logs", 200, path=CALL + "?logs=true", told=says(logs="")),
    Case("a request id", 200, headers={"x-request-id": "mine-1"}, told=says(request_id="mine-1")),
    Case("a request id that is none", 200, headers={"x-request-id": HOSTILE}, told=lambda b: len(b["request_id"]) < 40),
    Case("from our own page", 200, headers={"origin": "http://{host}", "sec-fetch-site": "same-origin"}),
    Case("who wants events", 200, headers={"accept": "text/event-stream"}, express=True),
    Case("who wants a page", 200, headers={"accept": "text/html"}, express=True),
    Case("who wants nothing that is", 200, headers={"accept": "image/png;q=0"}, express=True),
    Case("a connection for one call", 200, headers={"connection": "close"}),
    Case("who asks before sending", 200, headers={"expect": "100-continue"}),
    Case("a schema that is met", 200, path="/api/v1/functions/strict/invoke"),
    Case("the first of a limited function", 200, path=ONE, express=True),
    Case("one of a day's quota", 200, while_=lambda world: day_limited(world, left=100), express=True),
    Case("the same once more", 200, headers=KEYED, before=b'{"n": 1}'),
    Case("a proxy that nobody trusts", 200, headers={"x-forwarded-for": "203.0.113.7"}),
    # -- who asks
    Case("no key", 401, "unauthorized", key=""),
    Case("an unknown key", 401, "invalid_key", headers={"authorization": "Bearer nmb_0000000000000000000000"}),
    Case("what is no key", 401, "invalid_key", headers={"authorization": "Bearer x"}),
    Case("an empty key", 401, "invalid_key", headers={"authorization": "Bearer "}),
    Case("an empty key in the other header", 401, "invalid_key", key="", more_headers=(("x-api-key", ""),)),
    Case("a password", 401, "unauthorized", headers={"authorization": "Basic bm9ib2R5OnB3"}),
    Case("a key with a letter more", 401, "invalid_key", headers={"authorization": "Bearer {developer}x"}),
    Case("a revoked key", 401, "key_revoked", key="revoked"),
    Case("an expired key", 401, "key_expired", key="expired"),
    Case("a key of one who is gone", 401, "key_revoked", key="demoted"),
    Case("a role too low", 403, "forbidden", key="viewer"),
    Case("another owner's function", 404, "function_not_found", path="/api/v1/functions/others/invoke"),
    Case("one's own function from another", 404, "function_not_found", key="other"),
    Case("a wrong key and a right one", 401, "invalid_key", key="", headers={"authorization": "Bearer x", **BY_HEADER}),
    Case("two keys in one header", 401, "invalid_key", more_headers=(("authorization", "Bearer x"),)),
    Case("a cookie beside the key", 200, headers={"cookie": "sessionid=x"}),
    Case("a cookie that is none", 401, "unauthorized", key="", headers={"cookie": "sessionid=x"}),
    # -- limits
    Case("too many a minute", 429, "rate_limited", while_=rate_used_up),
    Case("too many a day", 429, "quota_exceeded", while_=lambda world: day_limited(world, left=0), express=True),
    Case("too many at once", 429, "concurrency_limit", path=ONE, while_=running_already, express=True),
    Case("too many here", 503, "too_many_waiting", while_=too_many_waiting),
    # -- what is called
    Case("no such function", 404, "function_not_found", path="/api/v1/functions/nobody/invoke"),
    Case("no such id", 404, "function_not_found", path="/api/v1/functions/01890a5d-ac96-774b-bcce-b302099a8057/invoke"),
    Case("no function at all", 404, "not_found", path="/api/v1/functions//invoke"),
    Case("half an address", 405, "method_not_allowed", path="/api/v1/functions/invoke"),
    Case("a way up", 404, "function_not_found", path="/api/v1/functions/%2e%2e/invoke"),
    Case("a NUL in the name", 404, "function_not_found", path="/api/v1/functions/%00/invoke"),
    Case("a slash in the name", 404, "not_found", path="/api/v1/functions/a%2fb/invoke"),
    Case("a function offline", 400, "function_not_active", path="/api/v1/functions/away/invoke"),
    Case("no such version", 404, "version_not_found", path=CALL + "?version=99"),
    Case("a version that is none", 400, "invalid_request", path=CALL + "?version=-1"),
    Case("no such alias", 404, "alias_not_found", path=CALL + "?alias=nobody"),
    Case("version and alias", 400, "invalid_request", path=CALL + "?alias=split&version=1"),
    Case("no such environment", 404, "environment_not_found", path=CALL + "?environment=nowhere"),
    Case("a session that is none", 400, "invalid_request", headers={"x-nimbus-session": HOSTILE}),
    Case("an idempotency key that is none", 400, "invalid_request", headers={"idempotency-key": HOSTILE}),
    Case("the same key for another body", 409, "idempotency_mismatch", headers=KEYED, before=b"{}"),
    # -- the body
    Case("half a body", 400, "invalid_json", body=b"{"),
    Case("no JSON", 400, "invalid_json", body=b"n=1"),
    Case("NaN", 400, "invalid_json", body=b'{"n": NaN}'),
    Case("a bare NUL", 400, "invalid_json", body=b"\0"),
    Case("not UTF-8", 400, "invalid_json", body=b'"\xff"'),
    Case("half a surrogate", 400, "invalid_json", body=b'"\\ud800"'),
    Case("too deep", 400, "invalid_json", body=deep(40_000)),
    Case("too large", 413, "too_large", body=b'"%s"' % (b"x" * MAX_EVENT)),
    Case("too large from a stranger", 401, "unauthorized", key="", body=b'"%s"' % (b"x" * MAX_EVENT)),
    Case("a form", 415, "unsupported_media_type", headers=FORMS, body=b"n=1"),
    Case("JSON that says it is text", 415, "unsupported_media_type", headers={"content-type": "text/plain"}),
    Case("a schema that is not met", 400, "invalid_event", path="/api/v1/functions/strict/invoke", body=b'{"n": "1"}'),
    # -- how it is asked
    Case("GET", 405, "method_not_allowed", method="GET", body=b""),
    Case("PUT", 405, "method_not_allowed", method="PUT"),
    Case("PATCH", 405, "method_not_allowed", method="PATCH"),
    Case("DELETE", 405, "method_not_allowed", method="DELETE"),
    Case("HEAD", 405, method="HEAD", body=b""),
    Case("OPTIONS", 200, method="OPTIONS", body=b""),
    Case("before a request from elsewhere", 200, method="OPTIONS", body=b"", headers=PREFLIGHT),
    Case("another method's name", 405, "method_not_allowed", method="GET", body=b"", headers=OVERRIDE),
    Case("a foreign Host", 403, "host_not_allowed", headers={"host": "evil.example"}),
    Case("no Host", 403, "host_not_allowed", headers={"host": ""}),
    Case("another site's page", 403, "cross_site", headers={"origin": "http://evil.example"}),
    Case("another site's page, as browsers say", 403, "cross_site", headers={"sec-fetch-site": "cross-site"}),
    Case("a page that hides where it is from", 403, "cross_site", headers={"origin": "null"}),
)  # fmt: skip

TRIES = 5
"""What is remembered grows old in a second, and the machine may be busy for that long."""
DOORS = ("express", "entrance", "chunked", "django")
"""As plain as can be; with a header that is not plain and says nothing new; without a length; and under Django."""


@pytest.fixture(scope="module")
def world(redis_server: Any, django_db_setup: None, django_db_blocker: Any, worker_process: Any) -> Iterator[World]:
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        clean()
        patch.setenv("NIMBUS_REQUIRE_KEYS", "true")
        patch.setenv("NIMBUS_MAX_EVENT_BYTES", str(MAX_EVENT))
        config.cache_clear()
        application = asgi.Entrance(asgi.django_application)
        patch.setattr(asgi, "application", application)
        try:
            with http_server(application) as server:
                world = World(server)
                wait_until(lambda: len(application._desk.lane._links) == 1, "the worker's connection")  # type: ignore[union-attr]
                yield world
                for client in world.clients.values():
                    client.close()
        finally:
            Quota.objects.all().delete()
            clean()
            get_user_model().objects.all().delete()
            known_keys.forget_all()
    config.cache_clear()


@pytest.fixture(autouse=True)
def transactional_db(world: World, worker_process: Any, django_db_blocker: Any) -> Iterator[None]:
    """What is there stays, from case to case; and Redis, which is emptied before each, knows the worker again."""
    fleet.announce(redis.connection(), worker_process)
    with django_db_blocker.unblock():
        yield


class Taken:
    """How often the express way was taken."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        begin = Express.begin

        def counted(express: Express, *given: Any) -> Any:
            sent = begin(express, *given)
            self.count += sent
            return sent

        patch.setattr(Express, "begin", counted)


def headers_of(case: Case, world: World, door: str) -> list[tuple[str, str]]:
    given = {"host": world.host, "content-type": "application/json"}
    if case.key:
        given["authorization"] = f"Bearer {world.keys[case.key]}"
    if door != "express":
        given["sec-fetch-site"] = "same-origin"
    given |= {name: _filled(value, world, door) for name, value in case.headers.items()}
    return [(name, value) for name, value in given.items() if value] + list(case.more_headers)


def _filled(text: str, world: World, door: str) -> str:
    text = text.replace("{host}", world.host).replace("{door}", f"{door}-{new_id()}")
    for name in re.findall(r"\{(\w+)\}", text):
        text = text.replace(f"{{{name}}}", world.keys.get(name) or world.id_of(name))
    return text


def ask(case: Case, world: World, door: str, patch: pytest.MonkeyPatch) -> Said:
    with patch.context() as own:
        if door == "django":
            own.setattr(asgi, "HOT_ROUTES", ())
        client, path, headers = world.clients[door], _filled(case.path, world, door), headers_of(case, world, door)
        if case.before is not None:
            client.send(case.method, path, headers, case.before, chunked=False)
        return client.send(case.method, path, headers, case.body, chunked=door == "chunked")


def shape(said: Said) -> dict[str, Any]:
    """What must be the same whichever door it was."""
    body: Any = json.loads(said.body) if said.body else None
    if isinstance(body, dict):
        body = {name: "…" if name in VOLATILE else value for name, value in body.items()}
    headers = {name: "…" if name in COUNTERS else value for name, value in said.headers.items() if name not in APART}
    return {"status": said.status, "body": body, "headers": headers}


def prime(case: Case, world: World, patch: pytest.MonkeyPatch) -> None:
    """What a stream of calls brings along: key, function and a lease of the rate limit in memory, all of them new."""
    assert asgi.application._door is not None
    known_keys.forget_all()
    directory.forget_all()
    asgi.application._door._limiter._leases.clear()
    wait_for_slot(case, world)
    ask(case, world, "entrance", patch)


def wait_for_slot(case: Case, world: World) -> None:
    """That of the call before is given back once it is on record."""
    if case.path == ONE and case.while_ is not running_already:
        key = slots.key(world.id_of("one-at-a-time"))
        wait_until(lambda: not redis.connection().exists(key), "the slot of the call before")


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name.replace(" ", "-"))
def test_every_door_says_the_same(world: World, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken(monkeypatch)
    answers = {}
    with case.while_(world):
        for door in DOORS:
            before = taken.count
            for _ in range(TRIES if door == "express" and case.express else 1):
                if case.express and door == "express":
                    prime(case, world, monkeypatch)
                wait_for_slot(case, world)
                answers[door] = ask(case, world, door, monkeypatch)
                if taken.count > before:
                    break
            assert taken.count - before == (case.express and door == "express"), f"the express way, at {door}"
    said = answers["entrance"]
    assert said.status == case.status, said
    body = json.loads(said.body) if said.body else {}
    assert body.get("code", "") == case.code if case.status != 200 else "code" not in body, said
    assert case.told(body), said
    for door, answer in answers.items():
        assert shape(answer) == shape(said), door
        assert bool(answer.headers["x-request-id"])
        told = json.loads(answer.body) if answer.body else {}
        # An answer that was kept for the same key tells of the first request.
        if "request_id" in told and (case.before is None or answer.status != 200):
            assert told["request_id"] == answer.headers["x-request-id"], door
    # The two that every call goes by do not differ by a single header.
    assert answers["express"].headers.keys() == said.headers.keys()


def test_no_part_of_an_answer_waits_for_the_one_before(world: World) -> None:
    world.manage("GET", "/functions/hello")
    assert {*world.server.options(socket.IPPROTO_TCP, socket.TCP_NODELAY)} == {1}


def test_a_connection_finds_the_express_way_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was remembered of its sender grows old while it goes on asking for the same."""
    taken = Taken(monkeypatch)
    plain = next(case for case in TABLE if case.name == "plain")
    wait_until(lambda: ask(plain, world, "express", monkeypatch).status == 200 and taken.count, "the express way")
    known_keys.forget_all()
    before = taken.count
    wait_until(lambda: ask(plain, world, "express", monkeypatch).status == 200 and taken.count > before, "it again")
