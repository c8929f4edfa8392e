"""One table of requests of strangers against both ways of each: webhooks and custom routes by the express way and by
uvicorn's own path. Whichever it is, the sender gets the same answer, header for header, and the function the same
event; and the express way is taken by all that is meant for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from accounts import directory as known_keys
from accounts import quotas
from accounts.models import Quota
from functions import directory
from invocations import daily, services, slots
from nimbus_project import asgi
from nimbus_project.config import config
from nimbus_project.core import fleet, redis
from nimbus_project.core.ids import new_id
from tests.integration.accounts import make_key
from tests.integration.hooks import SECRET, digest
from tests.integration.http_server import Client, HttpServer, Said, http_server
from tests.integration.plane import clean, wait_until
from triggers import deliveries, routes, webhook_directory
from triggers.express_routes import ExpressRoutes
from triggers.express_webhooks import ExpressWebhooks
from triggers.models import WebhookDelivery

MAX_EVENT = 50_000
TRIES = 5
"""What is remembered grows old in a second, and the machine may be busy for that long."""
# Answers with what it is told to, and else with what it has heard.
CODE = """
def main(event):
    told = event["body"]
    if isinstance(told, str) and told.startswith("="):
        return eval(told[1:])
    if isinstance(told, dict) and "say" in told:
        return eval(told["say"])
    return event
"""
VOLATILE = {"request_id", "date"}
COUNTERS = {"x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"}
APP = "https://app.example"
FROM_APP = {"origin": APP, "sec-fetch-site": "cross-site"}
FROM_EVIL = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
CORS = {"allow_origins": [APP], "allow_credentials": True, "max_age": 60}


class World:
    """A server, functions with routes and webhooks."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.clients = {door: Client(server.port) for door in DOORS}
        self.keys = {name: make_key(name, "developer") for name in ("ada", "eve")}
        self.hooks: dict[str, str] = {}
        for name, more in (
            ("open", {"http_path": "/shop/{id}", "http_methods": ["GET", "POST", "DELETE"]}),
            ("paged", {"http_path": "/pages/{id}", "http_methods": ["POST"], "cors": CORS}),
            ("locked", {"http_path": "/locked", "http_methods": ["POST"], "http_auth": "key"}),
            ("single", {"http_path": "/single", "http_methods": ["POST"], "max_concurrency": 1}),
            ("away", {"http_path": "/away", "http_methods": ["POST"]}),
            ("signed", {}),
            ("unsigned", {}),
            ("queued", {}),
            ("fenced", {}),
            ("slow", {}),
        ):
            self.manage(
                "POST", "/functions", name=name, runtime="python3.11", handler="handler.main", code=CODE, **more
            )
        self._hook("signed", signature={"scheme": "github", "secret": SECRET})
        self._hook("unsigned")
        self._hook("queued", mode="async")
        self._hook("fenced", ip_allow=["192.0.2.0/24"])
        self._hook("slow", rate_limit_per_min=1)
        self._hook("single")
        self._hook("away")
        self.manage("POST", "/functions/away/offline")

    def _hook(self, name: str, **settings: Any) -> None:
        if settings:
            self.manage("PUT", f"/functions/{name}/webhook", **settings)
        self.hooks[name] = self.manage("POST", f"/functions/{name}/webhook/enable")["webhook_key"]

    def manage(self, method: str, path: str, **body: Any) -> Any:
        headers = {"authorization": f"Bearer {self.keys['ada']}", "content-type": "application/json"}
        said = self.clients["entrance"].send(
            method, f"/api/v1{path}", [("host", self.host), *headers.items()], json.dumps(body).encode(), chunked=False
        )
        assert said.status < 300, said
        return json.loads(said.body)

    @property
    def host(self) -> str:
        return self.clients["entrance"].host


State = Callable[[World], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Case:
    """One request, and what both ways say to it."""

    name: str
    status: int
    path: str = "/shop/7"
    code: str = ""
    """Of a refusal."""
    method: str = "POST"
    body: bytes = b'{"n": 1}'
    headers: dict[str, str] = field(default_factory=dict)
    """Beside those of a plain request; an empty value takes one away."""
    express: bool = True
    """Whether the express way takes it."""
    before: int = 0
    """The same, so many times before it; then its answer is the one that counts."""
    while_: State = lambda world: nullcontext()
    told: Callable[[Any], object] = lambda body: True
    """Must be true of the answer's JSON."""
    lines: dict[str, str] = field(default_factory=dict)
    """Headers that the answer must have."""
    one_by_one: bool = False
    """Each door needs a body of its own, which has the placeholder {door}."""


@contextmanager
def day_limited(world: World) -> Iterator[None]:
    """A quota of the owner's that is used up."""
    owner_id = get_user_model().objects.get(username="ada").pk
    used = daily._count(owner_id, timezone.now())
    with transaction.atomic():
        Quota.objects.create(owner_id=owner_id, max_invocations_per_day=used)
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
    function_id = str(directory.look_up("single").id)
    assert services.take_slot_for(function_id, "somebody's", 1, 60_000)
    try:
        yield
    finally:
        services.release_slot(function_id, "somebody's")


def says(result: str) -> bytes:
    return f"={result}".encode()


def hears(**wanted: Any) -> Callable[[Any], object]:
    return lambda body: body == body | wanted


SIGNED, UNSIGNED = "/webhook/{signed}", "/webhook/{unsigned}"
TEXT = {"content-type": "text/plain"}
BY_KEY = {"authorization": "Bearer {ada}"}
TABLE = (
    # -- routes: what is heard
    Case("a route", 200, told=hears(httpMethod="POST", path="/shop/7", pathParameters={"id": "7"}, body='{"n": 1}')),
    Case("GET", 200, method="GET", body=b"", told=hears(httpMethod="GET", body=None, isBase64Encoded=False)),
    Case("DELETE", 200, method="DELETE", body=b"", told=hears(httpMethod="DELETE")),
    Case("a query", 200, "/shop/7?a=1&a=2&b=%C3%A4", told=hears(query={"a": "2", "b": "ä"})),
    Case("bytes", 200, body=b"\0\xff", headers={"content-type": "image/png"}, told=hears(isBase64Encoded=True)),
    Case("text that is none", 200, body=b"\xff", headers=TEXT, told=hears(isBase64Encoded=True)),
    Case("cookies", 200, headers={"cookie": "mine=1; sessionid=x"}, told=lambda b: b["headers"]["cookie"] == "mine=1"),
    Case("a proxy that nobody trusts", 200, headers={"x-forwarded-for": "203.0.113.7"}),
    Case("what a page of ours sends", 200, headers={"sec-fetch-site": "same-origin"}),
    # -- what is answered
    Case("a whole answer", 201, headers=TEXT,
         body=says("{'statusCode': 201, 'headers': {'X-A': 'b'}, 'cookies': ['a=1', 'b=2'], 'body': 'x'}"),
         lines={"x-a": "b", "content-type": "text/plain; charset=utf-8"}),
    Case("bytes back", 200, body=says("{'statusCode': 200, 'body': 'AP8=', 'isBase64Encoded': True}"), headers=TEXT,
         lines={"content-type": "application/octet-stream", "content-length": "2"}),
    Case("nothing", 204, body=says("{'statusCode': 204}"), headers=TEXT),
    Case("nothing, and reset", 205, body=says("{'statusCode': 205}"), headers=TEXT),
    Case("not modified", 304, body=says("{'statusCode': 304, 'headers': {'etag': 'x'}}"), headers=TEXT,
         lines={"etag": "x"}),
    Case("a large answer", 200, body=says("'x' * 200_000"), headers=TEXT),
    Case("an answer that is none", 502, code="bad_function_answer", body=says("{'statusCode': 99}"), headers=TEXT),
    Case("a failure", 502, code="function_failed", body=says("1 / 0"), headers=TEXT),
    # -- who asks
    Case("a page that may", 200, "/pages/1", headers=FROM_APP,
         lines={"access-control-allow-origin": APP, "vary": "origin"}),
    Case("what a page that may is told of a failure", 502, "/pages/1", "function_failed", body=says("1 / 0"),
         headers=FROM_APP | TEXT, lines={"access-control-allow-origin": APP}),
    Case("no page at all", 200, "/pages/1", lines={"vary": "origin"}),
    Case("a page that may not", 403, "/pages/1", "cross_site", headers=FROM_EVIL, express=False),
    Case("a page where none may", 403, code="cross_site", headers=FROM_APP, express=False),
    Case("a foreign Host", 403, code="host_not_allowed", headers={"host": "evil.example"}, express=False),
    Case("a key where one is asked for", 200, "/locked", headers=BY_KEY,
         told=lambda body: "authorization" not in body["headers"]),
    Case("none", 401, "/locked", "unauthorized", express=False),
    Case("one that is none", 401, "/locked", "invalid_key", headers={"authorization": "Bearer x"}, express=False),
    Case("another owner's", 404, "/locked", "not_found", headers={"authorization": "Bearer {eve}"}, express=False),
    # -- what else there is of it
    Case("a method that is none here", 405, code="method_not_allowed", method="PUT", express=False),
    Case("HEAD", 200, method="HEAD", body=b"", express=False),
    Case("OPTIONS", 204, method="OPTIONS", body=b"", express=False),
    Case("a slash at the end", 200, "/shop/7/", express=False),
    Case("an escaped parameter", 200, "/shop/%C3%A4", told=hears(pathParameters={"id": "ä"}), express=False),
    Case("a request id", 200, headers={"x-request-id": "mine-1"}, express=False),
    Case("no such route", 404, "/shop/7/8", "not_found", express=False),
    Case("out of service", 503, "/away", "function_not_active", express=False),
    Case("the first of a limited one", 200, "/single"),
    Case("too many at once", 429, "/single", "concurrency_limit", while_=running_already),
    Case("too many a day", 429, code="quota_exceeded", while_=day_limited),
    Case("too large", 413, code="too_large", body=b"x" * (MAX_EVENT + 1), headers=TEXT, express=False),
    Case("an event that is too large", 413, code="too_large", body=b"\0" * (MAX_EVENT - 9), express=False),
    # -- webhooks
    Case("a webhook", 200, UNSIGNED, told=hears(source="webhook", method="POST", body={"n": 1}, query={}),
         lines={"content-security-policy": "sandbox"}),
    Case("a webhook's text", 200, UNSIGNED, body=b"hello", headers=TEXT, told=hears(body="hello")),
    Case("a webhook's bytes", 200, UNSIGNED, body=b"\xff", headers={"content-type": "image/png"},
         told=hears(body=None, raw_body_base64="/w==")),
    Case("a webhook that is signed", 200, SIGNED, body=b'{"say": "[1]", "door": "{door}"}', one_by_one=True),
    Case("the same once more", 401, SIGNED, "delivery_replayed", body=b'{"door": "{door}"}', one_by_one=True, before=1),
    Case("a signature that is wrong", 401, SIGNED, "signature_refused",
         headers={"x-hub-signature-256": "sha256=" + "0" * 64}, express=False),
    Case("a signature that is none", 401, SIGNED, "signature_refused",
         headers={"x-hub-signature-256": ""}, express=False),
    Case("what failed, and comes again", 502, SIGNED, "function_failed", body=b'{"say": "1 / 0", "door": "{door}"}',
         one_by_one=True, before=1),
    Case("what was refused by the function, and comes again", 422, SIGNED, one_by_one=True, before=1,
         body=b'{"say": "{\'statusCode\': 422}", "door": "{door}"}'),
    Case("how far along a chain it says it is", 200, UNSIGNED, headers={"ce-nimbushops": "9"},
         told=lambda body: body["headers"]["ce-nimbushops"] == "9"),
    Case("what a page could send", 200, UNSIGNED, headers=FROM_EVIL),
    Case("to a name of no host", 200, UNSIGNED, headers={"host": "hooks.example"}),
    Case("a query of a webhook", 200, UNSIGNED + "?a=1", told=hears(query={"a": "1"}), express=False),
    Case("a session", 200, UNSIGNED, headers={"x-nimbus-session": "s"}, express=False),
    Case("to be queued", 202, "/webhook/{queued}", express=False),
    Case("from an address that may not", 403, "/webhook/{fenced}", "address_not_allowed", express=False),
    Case("to nobody", 404, "/webhook/whk_nobody", "webhook_not_found", express=False),
    Case("to whom is away", 503, "/webhook/{away}", "function_not_active", express=False),
    Case("by GET", 405, UNSIGNED, "method_not_allowed", method="GET", body=b"", express=False),
    Case("more often than it may", 429, "/webhook/{slow}", "rate_limited", before=1, express=False),
    Case("a webhook of a limited one", 200, "/webhook/{single}"),
    Case("too many webhooks at once", 429, "/webhook/{single}", "concurrency_limit", while_=running_already),
    Case("too many signed ones a day", 429, SIGNED, "quota_exceeded", while_=day_limited, before=1,
         body=b'{"day": "{door}"}', one_by_one=True),
)  # fmt: skip

DOORS = ("express", "entrance")


@pytest.fixture(scope="module")
def world(redis_server: Any, django_db_setup: None, django_db_blocker: Any, worker_process: Any) -> Iterator[World]:
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        clean()
        get_user_model().objects.all().delete()
        patch.setenv("NIMBUS_REQUIRE_KEYS", "true")
        patch.setenv("NIMBUS_MAX_EVENT_BYTES", str(MAX_EVENT))
        config.cache_clear()
        application = asgi.Entrance(asgi.django_application)
        patch.setattr(asgi, "application", application)
        try:
            with http_server(application) as server:
                world = World(server)
                wait_until(lambda: len(application.desk.lane._links) == 1, "the worker's connection")
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
    """How often the express ways were taken; they may be closed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.are_open = True
        for way in (ExpressRoutes, ExpressWebhooks):
            patch.setattr(way, "takes", self._when_open(way.takes))
            patch.setattr(way, "begin", self._counted(way.begin))

    def _when_open(self, takes: Callable[..., bool]) -> Callable[..., bool]:
        return lambda *given: self.are_open and takes(*given)

    def _counted(self, begin: Callable[..., bool]) -> Callable[..., bool]:
        def counted(*given: Any) -> bool:
            taken = begin(*given)
            self.count += taken
            return taken

        return counted


def filled(text: str, world: World, door: str) -> str:
    for name, value in (world.keys | world.hooks | {"door": door}).items():
        text = text.replace(f"{{{name}}}", value)
    return text


def ask(case: Case, world: World, door: str) -> Said:
    body = case.body
    if case.one_by_one:
        body = filled(body.decode(), world, str(new_id())).encode()
    given = {"host": world.host, "content-type": "application/json"}
    if "{signed}" in case.path:
        given["x-hub-signature-256"] = "sha256=" + digest(body)
    given |= {name: filled(value, world, door) for name, value in case.headers.items()}
    headers = [(name, value) for name, value in given.items() if value]
    client, path = world.clients[door], filled(case.path, world, door)
    for _ in range(case.before):
        client.send(case.method, path, headers, body, chunked=False)
    return client.send(case.method, path, headers, body, chunked=False)


def shape(said: Said) -> dict[str, Any]:
    """What must be the same whichever way it was."""
    try:
        body = json.loads(said.body)
    except ValueError:
        body = said.body
    if isinstance(body, dict):
        body = {name: "…" if name in VOLATILE | {"invocation_id"} else value for name, value in body.items()}
        body.get("headers", {}).pop("x-hub-signature-256", None)
        if "error" in body:
            body["error"] = re.sub(r"in \d+ s", "in … s", body["error"])
    headers = {
        name: "…" if name in COUNTERS or name in ("date", "x-request-id") else value
        for name, value in said.headers.items()
    }
    return {"status": said.status, "body": body, "headers": headers}


def prime(case: Case, world: World) -> None:
    """What a stream of calls brings along: function, table, webhook and a lease of the rate limit in memory."""
    assert asgi.application._door is not None
    known_keys.forget_all()
    directory.forget_all()
    asgi.application._door._limiter._leases.clear()
    for name in ("open", "locked", "single", "paged", "signed", "unsigned"):
        function = directory.look_up(name)
        directory.look_up(function.id)
    for key in world.hooks.values():
        webhook_directory.look_up(webhook_directory.digest_of(key))
    routes.load()
    quotas.limits_of(function.owner_id)
    plain = Case("prime", 200, "/locked", headers=BY_KEY) if case.path == "/locked" else Case("prime", 200)
    ask(plain, world, "entrance")


def wait_for_slot(case: Case) -> None:
    """That of the call before is given back once it is on record."""
    if case.while_ is not running_already:
        key = slots.key(directory.look_up("single").id)
        wait_until(lambda: not redis.connection().exists(key), "the slot of the call before")


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name.replace(" ", "-"))
def test_both_ways_say_the_same(world: World, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken(monkeypatch)
    answers = {}
    with case.while_(world):
        for door in DOORS:
            before = taken.count
            for _ in range(TRIES if door == "express" and case.express else 1):
                taken.are_open = False
                prime(case, world)
                wait_for_slot(case)
                taken.are_open = door == "express"
                answers[door] = ask(case, world, door)
                if taken.count - before > case.before:
                    break
            assert (taken.count > before) == (case.express and door == "express"), f"the express way, at {door}"
    said = answers["entrance"]
    assert said.status == case.status, said
    body = shape(said)["body"]
    if case.code:
        assert body["code"] == case.code, said
    assert case.told(body), said
    assert said.headers == said.headers | case.lines
    assert shape(answers["express"]) == shape(said)
    assert list(answers["express"].headers) == list(said.headers)


def test_a_delivery_is_logged_alike(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken(monkeypatch)
    rows = []
    for are_open in (True, False):
        deliveries.flush()
        WebhookDelivery.objects.all().delete()
        before, case = taken.count, Case("logged", 200, SIGNED, body=b'{"log": "{door}"}', one_by_one=True, before=1)
        for _ in range(TRIES):
            taken.are_open = False
            prime(case, world)
            taken.are_open = are_open
            ask(case, world, "express")
            if taken.count > before or not are_open:
                break
        assert (taken.count > before) == are_open
        deliveries.flush()
        wait_until(lambda: WebhookDelivery.objects.count() >= 2, "the log of deliveries")
        latest = WebhookDelivery.objects.order_by("-received_at")[:2]
        rows.append(
            [(row.http_status, row.code, row.size_bytes, row.address, bool(row.invocation_id)) for row in latest]
        )
    assert rows[0] == rows[1]
    assert [row[:2] for row in rows[0]] == [(401, "delivery_replayed"), (200, "")]


def test_a_route_that_was_changed_is_taken_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a connection that has asked for it before."""
    taken = Taken(monkeypatch)
    world.manage("POST", "/functions", name="brief", runtime="python3.11", handler="handler.main", code=CODE,
                 http_path="/brief", http_methods=["POST"])  # fmt: skip
    case = Case("brief", 200, "/brief")
    wait_until(lambda: ask(case, world, "express").status == 200 and taken.count > 0, "the express way")
    world.manage("PUT", "/functions/brief", http_path="/other")
    assert ask(case, world, "express").status == 404
    key = world.manage("POST", "/functions/brief/webhook/enable")["webhook_key"]
    hook, before = Case("hook", 200, f"/webhook/{key}"), taken.count
    wait_until(lambda: ask(hook, world, "express").status == 200 and taken.count > before, "the express way")
    world.manage("POST", "/functions/brief/webhook/disable")
    assert ask(hook, world, "express").status == 404


def test_whose_owner_is_gone_is_called_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, case = Taken(monkeypatch), Case("plain", 200)
    hook = Case("hook", 200, UNSIGNED)
    for one in (case, hook):
        before = taken.count
        wait_until(lambda: ask(one, world, "express").status == 200 and taken.count > before, "the express way")  # noqa: B023
    owner = get_user_model().objects.filter(username="ada")
    user_id = owner.get().pk
    owner.update(is_active=False)
    with transaction.atomic():
        known_keys.changed(f"user:{user_id}")
    try:
        assert [ask(one, world, "express").status for one in (case, hook)] == [404, 404]
    finally:
        owner.update(is_active=True)
        with transaction.atomic():
            known_keys.changed(f"user:{user_id}")


def test_behind_a_proxy_each_sender_has_its_own_address(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is one for all of them."""
    door = asgi.application._door
    assert door is not None
    monkeypatch.setattr(door._authenticator, "_trusted", (ip_network("127.0.0.0/8"), ip_network("::1/128")))
    taken = Taken(monkeypatch)

    def said(address: str) -> int:
        headers = {"x-forwarded-for": f"192.0.2.1, {address}"}
        return ask(Case("fenced", 200, "/webhook/{fenced}", headers=headers), world, "express").status

    wait_until(lambda: said("192.0.2.7") == 200 and taken.count > 0, "the express way")
    assert [said(address) for address in ("203.0.113.1", "192.0.2.7", "203.0.113.1")] == [403, 200, 403]
    deliveries.flush()
    rows = WebhookDelivery.objects.filter(code="address_not_allowed").order_by("-received_at")
    assert rows[0].address == "203.0.113.1"
