"""The frame of the API: request ids, hosts, methods, unknown addresses, health, schema, what a browser gets."""

from __future__ import annotations

from typing import Any

import pytest

from functions.models import Function
from invocations.models import Invocation
from nimbus_project.core import fleet, redis
from nimbus_project.core.ids import as_uuid
from tests.integration.plane import Api, refusal

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
ID = "01890a5d-ac96-774b-bcce-b302099a8057"


# -- request ids

PATHS = ["/health", "/api/v1/functions", "/api/v1/nothing", "/api/v1/functions/nobody/logs/stream", "/api/schema"]


@pytest.mark.parametrize("path", PATHS)
def test_a_sane_request_id_is_kept(api: Api, path: str) -> None:
    answer = api.get(path, headers={"x-request-id": "Abc-1.2_3:/+="})
    assert answer.headers.get_list("x-request-id") == ["Abc-1.2_3:/+="]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "ä", '"><script>', "a,b"])
def test_another_is_made(api: Api, path: str, given: str | None) -> None:
    headers = {} if given is None else {"x-request-id": given.encode()}
    (made,) = api.get(path, headers=headers).headers.get_list("x-request-id")
    assert as_uuid(made)


# -- who is served


@pytest.mark.parametrize("path", ["/health", "/api/v1/functions", "/api/v1/functions/x/invoke", "/admin/", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_host_is_refused(api: Api, method: str, path: str) -> None:
    refusal(api(method, path, headers={"host": "evil.example"}), 403, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8080", "LOCALHOST"])
def test_loopback_is_served(api: Api, host: str) -> None:
    assert api.get("/functions", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost:abc", "localhost:8080:1", "[::1]x", "localhost:80/x"])
def test_a_crooked_host_is_refused(api: Api, host: str) -> None:
    answer = api.get("/functions", headers={"host": host})
    assert answer.status_code in (200, 400, 403)
    if answer.status_code != 200:
        refusal(answer, answer.status_code)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/functions"), ("POST", "/functions/hello/async"), ("PUT", "/functions/hello"),
     ("DELETE", "/functions/hello"), ("POST", f"/invocations/{ID}/cancel")],
)  # fmt: skip
def test_a_post_from_another_site_changes_nothing(api: Api, method: str, path: str, headers: dict[str, str]) -> None:
    api.create()
    body = {"name": "x", "runtime": "python3.11", "handler": "a.b", "code": "x"}
    refusal(api(method, path, json=body, headers=headers), 403, "cross_site")
    assert [function.name for function in Function.objects.all()] == ["hello"]
    assert not Invocation.objects.exists()


# -- methods

LISTS, ONE, ACTION, READ = {"GET", "POST"}, {"GET", "PUT", "PATCH", "DELETE"}, {"POST"}, {"GET"}
ALL = ("GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "TRACE")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/functions", LISTS),
        ("/functions/hello", ONE),
        ("/functions/hello/offline", ACTION),
        ("/functions/hello/online", ACTION),
        ("/functions/hello/invoke", ACTION),
        ("/functions/hello/async", ACTION),
        ("/functions/hello/invocations", READ),
        ("/invocations", READ),
        (f"/invocations/{ID}", READ),
        (f"/invocations/{ID}/logs", READ),
        (f"/invocations/{ID}/cancel", ACTION),
        (f"/invocations/{ID}/replay", ACTION),
        ("/health", READ),
        ("/health/live", READ),
        ("/health/ready", READ),
        ("/metrics", READ),
    ],
)
def test_other_methods_are_refused_by_name(api: Api, path: str, allowed: set[str]) -> None:
    api.create()
    for method in set(ALL) - allowed:
        answer = api(method, path)
        refusal(answer, 405, "method_not_allowed")
        assert allowed <= set(answer.headers["allow"].split(", ")), method


@pytest.mark.parametrize("path", ["/functions", "/functions/hello", "/invocations", "/health"])
def test_head_is_get_without_a_body(api: Api, path: str) -> None:
    api.create()
    assert api("HEAD", path).status_code == 200


@pytest.mark.parametrize("path", ["/functions", "/functions/hello", "/functions/hello/invoke", "/invocations"])
def test_options_tell_the_methods(api: Api, path: str) -> None:
    api.create()
    answer = api("OPTIONS", path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["allow"]


# -- addresses where nothing is


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/v1/nothing",
        "/api/v1/functions/x/nothing",
        "/api/v1/functions/x/invoke/more",
        "/api/v1/functions//invoke",
        "/api/v1/invocations/x/nothing",
        "/api/v2/functions",
        "/health/nothing",
        "/api/v1/%00",
        "/api/v1/functions/a%2Fb/invoke",
        "/api/v1/../../etc/passwd",
        "/api/v1/%0A",
        "//evil.example/api",
        "/api/v1/" + "x" * 10_000,
        "/api/v1/" + "x/" * 500,
    ],
)
def test_nothing_is_404_in_json(api: Api, method: str, path: str) -> None:
    refusal(api(method, f"http://localhost:8080{path}"), 404, "not_found")


# -- health, metrics


def test_health(api: Api) -> None:
    assert api.get("/health").json() == {"status": "healthy"}
    assert api.get("/health/").json() == {"status": "healthy"}
    assert api.get("/health/live").json() == {"status": "alive"}


def test_ready_with_a_worker(api: Api) -> None:
    fleet.announce(
        redis.connection(),
        fleet.WorkerState(id="w", node="n", pid=1, driver="process", started_at=0.0, threads=1),
    )
    answer = api.get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_ready_names_what_is_down(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "living", lambda client: [])
    answer = api.get("/health/ready")
    assert (answer.status_code, list(answer.json()["down"])) == (503, ["worker"])


def test_metrics_are_prometheus_text(api: Api) -> None:
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "# HELP nimbus_invocations_total" in answer.text


# -- the schema and the browser


def test_the_schema_is_openapi(api: Api) -> None:
    answer = api.get("/api/schema", headers={"accept": "application/vnd.oai.openapi+json"})
    schema: dict[str, Any] = answer.json()
    assert schema["openapi"].startswith("3.")
    for path, methods in {
        "/api/v1/functions": {"get", "post"},
        "/api/v1/functions/{reference}": {"get", "put", "patch", "delete"},
        "/api/v1/functions/{reference}/invoke": {"post"},
        "/api/v1/functions/{reference}/async": {"post"},
        "/api/v1/invocations": {"get"},
        "/api/v1/invocations/{reference}/logs": {"get"},
        "/api/v1/invocations/{reference}/cancel": {"post"},
    }.items():
        assert methods <= set(schema["paths"][path]), path
    ids = [each["operationId"] for path in schema["paths"].values() for each in path.values() if "operationId" in each]
    assert len(ids) == len(set(ids))
    assert _unresolved(schema, schema) == []


def _unresolved(node: Any, schema: dict[str, Any]) -> list[str]:
    """References that lead nowhere."""
    if isinstance(node, list):
        return [missing for item in node for missing in _unresolved(item, schema)]
    if not isinstance(node, dict):
        return []
    found = []
    if isinstance(reference := node.get("$ref"), str):
        target: Any = schema
        for part in reference.removeprefix("#/").split("/"):
            target = target.get(part, {}) if isinstance(target, dict) else {}
        found = [] if target else [reference]
    return found + [missing for value in node.values() for missing in _unresolved(value, schema)]


def test_the_docs_are_served(api: Api) -> None:
    answer = api.get("/api/docs", headers=BROWSER)
    assert answer.status_code == 200
    assert "swagger" in answer.text.lower()


@pytest.mark.parametrize("path", ["/functions", "/functions/hello", "/invocations"])
def test_a_browser_gets_a_page(api: Api, path: str) -> None:
    api.create()
    answer = api.get(path, headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "hello" in answer.text or path == "/invocations"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/functions/nobody", 404),
        ("GET", "/functions?limit=-1", 400),
        ("POST", "/functions", 400),
        ("PUT", "/functions/hello/offline", 405),
        ("GET", "/nothing", 404),
        ("POST", "/functions/nobody/invoke", 404),
    ],
)
def test_an_error_in_a_browser_is_no_stack_trace(api: Api, method: str, path: str, status: int) -> None:
    answer = api(method, path, headers=BROWSER)
    assert answer.status_code == status
    for word in ("Traceback (most", "site-packages", "DJANGO_SETTINGS", "DEBUG = "):
        assert word not in answer.text
    assert "request_id" in answer.text


@pytest.mark.parametrize("accept", ["application/json", "*/*", "", "application/*", "garbage", "a/b;q=x", "text/csv"])
def test_without_a_browser_errors_are_json(api: Api, accept: str) -> None:
    refusal(api.get("/functions/nobody", headers={"accept": accept}), 404)


@pytest.mark.parametrize("path", ["/functions", "/invocations"])
def test_a_thousand_parameters_are_refused(api: Api, path: str) -> None:
    refusal(api.get(f"{path}?" + "a=1&" * 2000), 400)


def test_an_unforeseen_error_is_told_without_its_trace(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("functions.selectors.functions_matching", broken)
    monkeypatch.setattr("functions.directory.look_up", broken)
    for answer in (api.get("/functions"), api.post("/functions/x/invoke"), api.post("/functions/x/async")):
        body = refusal(answer, 500, "internal_error")
        assert "secret" not in answer.text and body["error"]
