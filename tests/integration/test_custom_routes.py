"""Custom routes through the entrance, with a real worker behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from accounts.models import AuditEntry
from functions import services
from functions.models import Function, FunctionRoute
from nimbus_project.config import config
from nimbus_project.core import redis
from tests.integration.accounts import As, make_key
from tests.integration.conftest import _entrance_with
from tests.integration.plane import BASE, Api, chunks, in_threads, make_function, refusal, wait_until
from tests.services import RedisServer
from triggers import routes

pytestmark = pytest.mark.usefixtures("worker")

ECHO = "def main(event):\n    return event\n"
ANSWERS = """
import json

def main(event):
    if event["body"] == "fail":
        raise RuntimeError("why it failed")
    return json.loads(event["body"])
"""
CORS = {"allow_origins": ["https://app.example"], "allow_credentials": True, "max_age": 60}
APP = {"origin": "https://app.example", "sec-fetch-site": "cross-site"}
EVIL = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


def call(api: Api, method: str, path: str, **more: Any) -> httpx.Response:
    return api(method, BASE + path, **more)


def runs(api: Api, name: str = "fn") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/functions/{name}/invocations").json()["invocations"]
    return found


# -- the fields


def test_a_route_from_its_making_to_its_end(api: Api) -> None:
    made = api.create("fn", code=ECHO, http_path="/users/{id}", http_methods=["get", "PUT"])
    assert (made["http_path"], made["http_methods"], made["http_auth"]) == ("/users/{id}", ["GET", "PUT"], "none")
    assert "cors" not in made
    answer = call(api, "GET", "/users/7?a=1", headers={"x-a": "b"})
    assert answer.status_code == 200, answer.text
    event = answer.json()
    assert event["headers"].pop("x-a") == "b"
    del event["headers"]
    assert event == {
        "httpMethod": "GET",
        "path": "/users/7",
        "pathParameters": {"id": "7"},
        "query": {"a": "1"},
        "body": None,
        "isBase64Encoded": False,
    }
    assert runs(api)[0]["trigger_type"] == "route"
    # Moved: the old address is free at once, and no version was made of it.
    moved = api.put("/functions/fn", {"http_path": "/people/{name}/"}).json()
    assert (moved["http_path"], moved["version"]) == ("/people/{name}", 1)
    refusal(call(api, "GET", "/users/7"), 404, "not_found")
    assert call(api, "GET", "/people/ada/").json()["pathParameters"] == {"name": "ada"}
    # What was shown can be sent back.
    assert api.put("/functions/fn", moved).json() == moved | {
        "updated_at": api.get("/functions/fn").json()["updated_at"]
    }
    gone = api.put("/functions/fn", {"http_path": None}).json()
    assert not {"http_path", "http_methods", "http_auth", "cors"} & set(gone)
    refusal(call(api, "GET", "/people/ada"), 404, "not_found")
    assert not FunctionRoute.objects.exists()


def test_a_deleted_functions_address_is_free(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x")
    assert call(api, "GET", "/x").status_code == 200
    api("DELETE", "/functions/fn")
    refusal(call(api, "GET", "/x"), 404, "not_found")
    api.create("fn", code=ECHO, http_path="/x")
    assert call(api, "GET", "/x").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/", "/api", "/api/v1/functions", "/admin/x", "/health", "/metrics", "/webhook/x", "/static/x", "/login",
        "/logout", "/Admin", "x", "/a//b", "/{a}/{a}", "/../api", "/a b", 7, ["/x"], "/.well-known/x",
    ],
)  # fmt: skip
def test_addresses_that_are_no_functions(api: Api, path: Any) -> None:
    values = {"name": "fn", "runtime": "python3.11", "handler": "handler.main", "code": ECHO, "http_path": path}
    assert "http_path" in refusal(api.post("/functions", values), 400)["details"]
    assert not Function.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"http_methods": ["GET"]}, "http_methods"),
        ({"http_path": "/x", "http_methods": ["BREW"]}, "http_methods"),
        ({"http_path": "/x", "http_methods": "GET"}, "http_methods"),
        ({"http_path": "/x", "http_auth": "password"}, "http_auth"),
        ({"http_path": "/x", "cors": {}}, "cors.allow_origins"),
        ({"http_path": "/x", "cors": {"allow_origins": ["app.example"]}}, "cors.allow_origins"),
        ({"http_path": "/x", "cors": {"allow_origins": ["https://app.example/path"]}}, "cors.allow_origins"),
        ({"http_path": "/x", "cors": {"allow_origins": ["https://a\r\nb: c"]}}, "cors.allow_origins"),
        ({"http_path": "/x", "cors": {"allow_origins": ["null"]}}, "cors.allow_origins"),
        ({"http_path": "/x", "cors": {"allow_origins": ["*"], "allow_credentials": True}}, "cors.allow_origins"),
        ({"http_path": "/x", "cors": {"allow_origins": ["*"], "allow_headers": ["a b"]}}, "cors.allow_headers"),
        ({"http_path": "/x", "cors": {"allow_origins": ["*"], "allow_methods": ["X"]}}, "cors.allow_methods"),
        ({"http_path": "/x", "cors": {"allow_origins": ["*"], "max_age": -1}}, "cors.max_age"),
        ({"http_path": "/x", "cors": {"allow_origins": ["*"], "origins": []}}, "cors.origins"),
        ({"http_path": "/x", "cors": "*"}, "cors"),
    ],
)
def test_bad_settings_are_refused(api: Api, changes: dict[str, Any], field: str) -> None:
    api.create("fn", code=ECHO)
    before = api.get("/functions/fn").json()
    assert field in refusal(api.put("/functions/fn", changes), 400)["details"]
    assert api.get("/functions/fn").json() == before


def test_an_address_and_method_has_one_function(api: Api) -> None:
    api.create("first", code=ECHO, http_path="/x/{a}", http_methods=["GET"])
    api.create("second", code=ECHO, http_path="/x/{b}", http_methods=["POST"])
    values = {"runtime": "python3.11", "handler": "handler.main", "code": ECHO, "http_path": "/x/{c}/"}
    body = refusal(api.post("/functions", values | {"name": "third"}), 409, "route_taken")
    assert "http_path" in body["details"] and "first" in body["error"]
    assert not Function.objects.filter(name="third").exists()
    refusal(api.put("/functions/second", {"http_methods": ["GET", "POST"]}), 409, "route_taken")
    assert api.get("/functions/second").json()["http_methods"] == ["POST"]
    assert call(api, "GET", "/x/1").json()["pathParameters"] == {"a": "1"}
    assert call(api, "POST", "/x/1").json()["pathParameters"] == {"b": "1"}
    # A copy has none: the original keeps it.
    assert "http_path" not in api.post("/functions/first/clone", {"name": "copy"}).json()


def test_a_conflict_names_nobody_elses_function(locked_entrance: Api) -> None:
    ada, bob = As(locked_entrance, make_key("ada", "developer")), As(locked_entrance, make_key("bob", "developer"))
    ada.create("hers", http_path="/x")
    bob.create("his")
    body = refusal(bob("PUT", "/functions/his", json={"http_path": "/x"}), 409, "route_taken")
    assert "hers" not in body["error"] and "another function" in body["error"]
    ada.create("another")
    assert "hers" in refusal(ada("PUT", "/functions/another", json={"http_path": "/x"}), 409)["error"]


def test_of_many_who_want_an_address_at_once_one_gets_it() -> None:
    for number in range(6):
        make_function(f"f{number}")
    results = in_threads(6, lambda n: services.function_update(f"f{n}", http_path="/x"))
    assert sum(isinstance(one, Function) for one in results) == 1
    assert {type(one).__name__ for one in results} == {"Function", "RouteTaken"}
    assert FunctionRoute.objects.values("function").distinct().count() == 1


def test_changes_are_in_the_audit_log(api: Api) -> None:
    api.create("fn", code=ECHO)
    api.put("/functions/fn", {"http_path": "/x", "http_auth": "key"})
    entry = AuditEntry.objects.filter(action="function.update").get()
    assert entry.after is not None
    assert (entry.after["http_path"], entry.after["http_auth"]) == ("/x", "key")
    assert entry.before is not None and entry.before["http_path"] == ""


# -- answers


@pytest.mark.parametrize(
    ("result", "status", "body", "headers"),
    [
        ('{"a": [1, 2]}', 200, b'{"a":[1,2]}', {"content-type": "application/json"}),
        ('"text"', 200, b'"text"', {"content-type": "application/json"}),
        ('{"statusCode": 418, "body": "tea"}', 418, b"tea", {"content-type": "text/plain; charset=utf-8"}),
        (
            '{"statusCode": 200, "body": "<p>", "headers": {"Content-Type": "text/html", "X-A": "1"}}',
            200,
            b"<p>",
            {"content-type": "text/html", "x-a": "1", "content-length": "3"},
        ),
        (
            '{"statusCode": 200, "body": "iVBORwAB/w==",'
            ' "headers": {"content-type": "image/a"}, "isBase64Encoded": true}',
            200,
            b"\x89PNG\x00\x01\xff",
            {"content-type": "image/a", "content-length": "7"},
        ),
        (
            '{"statusCode": 302, "headers": {"Location": "/y", "Transfer-Encoding": "chunked", "Content-Length": "9"}}',
            302,
            b"",
            {"location": "/y", "content-length": "0"},
        ),
    ],
)
def test_the_function_answers(api: Api, result: str, status: int, body: bytes, headers: dict[str, str]) -> None:
    api.create("fn", code=ANSWERS, http_path="/x")
    answer = call(api, "POST", "/x", content=result, headers={"x-request-id": "r-1"})
    assert answer.status_code == status
    assert answer.content.replace(b", ", b",").replace(b": ", b":") == body
    assert headers.items() <= dict(answer.headers).items()
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["x-request-id"] == "r-1"


def test_a_status_without_a_body_has_no_length(api: Api) -> None:
    api.create("fn", code=ANSWERS, http_path="/x")
    answer = call(api, "POST", "/x", content='{"statusCode": 204, "body": "dropped"}')
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers and "content-type" not in answer.headers


def test_cookies_go_both_ways_but_not_the_consoles(api: Api) -> None:
    code = """
def main(event):
    return {"statusCode": 200, "body": event["headers"].get("cookie"), "headers": {"set-cookie": "sessionid=stolen"},
            "cookies": ["a=1; HttpOnly", "b=2"], "multiValueHeaders": {"set-cookie": ["c=3", "csrftoken=x"]}}
"""
    api.create("fn", code=code, http_path="/x")
    answer = call(api, "GET", "/x", headers={"cookie": "csrftoken=secret; theme=dark"})
    assert answer.text == "theme=dark"
    assert answer.headers.get_list("set-cookie") == ["c=3", "a=1; HttpOnly", "b=2"]


def test_bodies_that_are_no_text_come_as_base64(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x")
    event = call(api, "POST", "/x", content=b"\x89PNG\x00", headers={"content-type": "image/png"}).json()
    assert (event["body"], event["isBase64Encoded"]) == ("iVBORwA=", True)
    event = call(api, "POST", "/x", content="grüß".encode(), headers={"content-type": "text/plain"}).json()
    assert (event["body"], event["isBase64Encoded"]) == ("grüß", False)


def test_failures(api: Api) -> None:
    api.create("fn", code=ANSWERS, http_path="/x", timeout_sec=1)
    body = refusal(call(api, "POST", "/x", content="fail"), 502, "function_failed")
    assert "why" not in body["error"]
    for result in ('{"statusCode": 1000}', '{"statusCode": 200, "headers": 7}'):
        refusal(call(api, "POST", "/x", content=result), 502, "bad_function_answer")
    refusal(call(api, "POST", "/x", content=chunks(b"x" * (config().max_event_bytes + 1))), 413, "too_large")
    api.put("/functions/fn", {"code": "import time\ndef main(event):\n    time.sleep(30)\n"})
    refusal(call(api, "POST", "/x", content="1"), 504, "function_timeout")
    api.post("/functions/fn/offline")
    gone = call(api, "POST", "/x", content="1")
    refusal(gone, 503, "function_not_active")
    assert "fn" not in gone.json()["error"] and "retry-after" in gone.headers


# -- methods


def test_methods(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x", http_methods=["GET", "DELETE"])
    head = call(api, "HEAD", "/x")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 10
    # The code of a GET need not know of HEAD.
    assert runs(api)[0]["input"]["httpMethod"] == "GET"
    refused = call(api, "POST", "/x")
    refusal(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
    options = call(api, "OPTIONS", "/x")
    assert (options.status_code, options.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS")
    assert len(runs(api)) == 1


def test_a_function_may_answer_options_itself(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x", http_methods=["OPTIONS", "HEAD"])
    assert call(api, "OPTIONS", "/x").json()["httpMethod"] == "OPTIONS"
    call(api, "HEAD", "/x")
    assert runs(api)[0]["input"]["httpMethod"] == "HEAD"


def test_the_api_comes_first(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/{all+}")
    assert call(api, "GET", "/anything/at/all").json()["pathParameters"] == {"all": "anything/at/all"}
    assert call(api, "GET", "/health").json() == {"status": "healthy"}
    assert call(api, "GET", "/api/v1/functions").json()["total"] == 1
    refusal(call(api, "GET", "/api/v1/nothing"), 404, "not_found")
    refusal(call(api, "POST", "/webhook/x"), 404, "webhook_not_found")
    assert call(api, "GET", "/admin/").status_code == 302
    for path in ("/login", "/metrics", "/static/x", "/"):
        assert "pathParameters" not in call(api, "GET", path).text
    refusal(call(api, "GET", "/a//b"), 404, "not_found")
    refusal(call(api, "OPTIONS", "/nothing//here", headers={"origin": "https://x"}), 404)


# -- who may call


def test_public_unless_it_asks_for_a_key(locked_entrance: Api, worker: None) -> None:
    ada, bob = As(locked_entrance, make_key("ada", "developer")), As(locked_entrance, make_key("bob", "developer"))
    ivo, eve = As(locked_entrance, make_key("ivo", "invoker")), As(locked_entrance, make_key("eve", "viewer"))
    ada.create("open", http_path="/open")
    ada.create("mine", http_path="/mine", http_auth="key")
    ada.create("shared", http_path="/shared", http_auth="key", shared=True)
    # Whatever credentials come to an open one are the function's.
    for headers in ({}, {"authorization": "Bearer nmb_of-another-place"}, {"x-api-key": "x"}):
        answer = locked_entrance.get(BASE + "/open", headers=headers)
        assert answer.status_code == 200, answer.text
        assert headers.items() <= answer.json()["headers"].items()
    refusal(locked_entrance.get(BASE + "/mine"), 401, "unauthorized")
    refusal(locked_entrance.get(BASE + "/mine", headers={"x-api-key": "nmb_wrong"}), 401, "invalid_key")
    refusal(eve.get(BASE + "/shared"), 403, "forbidden")
    refusal(bob.get(BASE + "/mine"), 404, "not_found")
    assert ivo.get(BASE + "/shared").status_code == 200
    answer = ada.get(BASE + "/mine")
    assert answer.status_code == 200
    # What let the caller in is not for the code.
    assert not {"authorization", "x-api-key"} & set(answer.json()["headers"])
    assert ada.key not in answer.text


def test_the_loopback_is_let_in_as_everywhere(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x", http_auth="key")
    assert call(api, "GET", "/x").status_code == 200
    refusal(call(api, "GET", "/x", headers={"x-api-key": "nmb_wrong"}), 401)


# -- other sites' pages


def test_the_guard_stands_before_a_route(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x")
    refusal(call(api, "POST", "/x", headers=EVIL), 403, "cross_site")
    refusal(call(api, "GET", "/x", headers={"host": "evil.example"}), 403, "host_not_allowed")
    assert call(api, "POST", "/x", headers={"origin": BASE}).status_code == 200
    assert len(runs(api)) == 1


def test_named_origins_may_call_and_no_others(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x", cors=CORS)
    answer = call(api, "POST", "/x", headers=APP)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "origin"
    refusal(call(api, "POST", "/x", headers=EVIL), 403, "cross_site")
    refusal(call(api, "POST", "/x", headers={"origin": "null"}), 403, "cross_site")
    reading = call(api, "GET", "/x", headers=EVIL)
    assert reading.status_code == 200 and "access-control-allow-origin" not in reading.headers
    refusal(call(api, "GET", "/x", headers={"host": "evil.example"}), 403, "host_not_allowed")
    assert call(api, "GET", "/x", headers=APP | {"host": "other.example"}).status_code == 200
    # For this route alone.
    api.create("other", code=ECHO, http_path="/other")
    refusal(call(api, "POST", "/other", headers=APP), 403, "cross_site")
    refusal(call(api, "POST", "/api/v1/functions", headers=APP), 403, "cross_site")


def test_a_page_can_read_why_it_was_refused(api: Api) -> None:
    api.create("fn", code=ANSWERS, http_path="/x", cors=CORS)
    answer = call(api, "POST", "/x", content="fail", headers=APP)
    refusal(answer, 502)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_a_preflight_is_answered_without_a_call(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x", http_methods=["GET", "PUT", "OPTIONS"], http_auth="key", cors=CORS)
    asks = {"access-control-request-method": "PUT", "access-control-request-headers": "content-type, x-a"}
    answer = call(api, "OPTIONS", "/x", headers=APP | asks | {"host": "elsewhere.example"})
    assert (answer.status_code, answer.content) == (204, b"")
    found = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
    assert found == {
        "access-control-allow-origin": "https://app.example",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, PUT, OPTIONS",
        "access-control-allow-headers": "content-type, x-a",
        "access-control-max-age": "60",
    }
    refused = call(api, "OPTIONS", "/x", headers=EVIL | asks)
    refusal(refused, 403, "origin_not_allowed")
    assert "access-control-allow-origin" not in refused.headers
    assert runs(api) == []


def test_a_preflight_of_a_route_without_cors_promises_nothing(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x")
    answer = call(api, "OPTIONS", "/x", headers=APP | {"access-control-request-method": "POST"})
    assert answer.status_code == 204
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert runs(api) == []


def test_two_functions_at_one_address_keep_their_own_cors(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x", http_methods=["POST"], cors=CORS)
    api.create("other", code=ECHO, http_path="/x", http_methods=["PUT"])
    assert call(api, "POST", "/x", headers=APP).status_code == 200
    refusal(call(api, "PUT", "/x", headers=APP), 403, "cross_site")
    asked = call(api, "OPTIONS", "/x", headers=APP | {"access-control-request-method": "PUT"})
    assert "access-control-allow-origin" not in asked.headers


# -- pages of functions beside the console


def test_where_others_may_log_in_pages_are_sandboxed(locked_entrance: Api, worker: None) -> None:
    ada = As(locked_entrance, make_key("ada", "developer"))
    ada.create("page", http_path="/page")
    policy = locked_entrance.get(BASE + "/page").headers["content-security-policy"]
    assert policy.startswith("sandbox") and "allow-same-origin" not in policy


@pytest.fixture
def own_host(redis_server: RedisServer, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An entrance with a host for routes, which requires keys."""
    yield from _entrance_with(monkeypatch, NIMBUS_REQUIRE_KEYS="true", NIMBUS_ROUTE_HOSTS="fn.example, fn2.example")


def test_a_host_for_routes_alone(own_host: Api, worker: None) -> None:
    ada = As(own_host, make_key("ada", "developer"))
    ada.create("page", http_path="/page")
    key = ada.post("/functions/page/webhook/enable").json()["webhook_key"]
    for host in ("fn.example", "FN2.example:443"):
        there = {"host": host}
        answer = own_host.get(BASE + "/page", headers=there)
        assert answer.status_code == 200 and "content-security-policy" not in answer.headers
        assert own_host("POST", f"{BASE}/webhook/{key}", headers=there).status_code == 200
        for path in ("/", "/health", "/login", "/admin/", "/api/v1/functions", "/nothing", "/static/x"):
            refusal(own_host.get(BASE + path, headers=there | {"x-api-key": ada.key}), 404, "not_found")
    refusal(own_host.get(BASE + "/page"), 404, "not_found")
    assert ada.get("/functions").status_code == 200


# -- the table in memory


def test_a_change_is_known_elsewhere_at_once(api: Api) -> None:
    """By the message alone: as if another process had made it."""
    api.create("fn", code=ECHO, http_path="/x")
    assert call(api, "GET", "/x").status_code == 200
    Function.objects.update(http_path="/y")
    redis.publish(redis.CHANGES, "routes")
    wait_until(lambda: call(api, "GET", "/x").status_code == 404, "the change", within_sec=2.0)
    assert call(api, "GET", "/y").status_code == 200


def test_other_changes_leave_the_table_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create("fn", code=ECHO, http_path="/x")
    call(api, "GET", "/x")
    before = routes._generation
    api.put("/functions/fn", {"description": "other"})
    api.put("/functions/fn/secrets/A", {"value": "b"})
    assert routes._generation == before
    api.put("/functions/fn", {"http_auth": "key"})
    assert routes._generation > before


def test_a_stored_route_that_is_none_costs_no_others(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x")
    make_function("odd")
    Function.objects.filter(name="odd").update(http_path="no path", http_methods=["GET"])
    routes._hear("routes")
    assert call(api, "GET", "/x").status_code == 200


def test_routes_are_part_of_no_copy(api: Api) -> None:
    api.create("fn", code=ECHO, http_path="/x", http_methods=["GET"])
    copy = api.post("/functions/fn/clone", {"name": "copy"}).json()
    assert "http_path" not in copy
    assert make_function("more").http_path == ""
    assert call(api, "GET", "/x").status_code == 200
