"""Every address × method × role, through the entrance, against a table written here by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.accounts import ROLES, make_key
from tests.integration.plane import BASE, Api

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
A, D, V, CALLER = "admin", "developer", "viewer", "invoker"
EVERYBODY = {A, D, V, CALLER, ""}
ANY = {A, D, V, CALLER}
READ = {A, D, V}
WRITE = {A, D}
CALL = {A, D, CALLER}
ADMIN = {A}

# Who gets in, by route and method; a method that is not here is answered with 405 for any role.
EXPECTED: dict[str, dict[str, set[str]]] = {
    "health": dict.fromkeys(METHODS, EVERYBODY),
    "health-live": dict.fromkeys(METHODS, EVERYBODY),
    "health-ready": dict.fromkeys(METHODS, EVERYBODY),
    "metrics": {"GET": READ} | dict.fromkeys(METHODS[1:], ADMIN),
    "login": dict.fromkeys(("GET", "POST", "PUT"), EVERYBODY),
    "logout": {"POST": EVERYBODY},
    "schema": {"GET": READ},
    "docs": {"GET": READ},
    "not-found": dict.fromkeys(METHODS, EVERYBODY),
    "me": {"GET": ANY},
    "apikeys": {"GET": READ, "POST": WRITE},
    "apikey": {"GET": READ, "DELETE": WRITE},
    "users": {"GET": ADMIN, "POST": ADMIN},
    "user": {"GET": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN},
    "audit": {"GET": ADMIN},
    "functions": {"GET": READ, "POST": WRITE},
    "function": {"GET": READ, "PUT": WRITE, "PATCH": WRITE, "DELETE": WRITE},
    "functions-bulk-delete": {"POST": WRITE},
    "functions-bulk-update": {"POST": WRITE},
    "functions-export": {"POST": WRITE},
    "functions-import": {"POST": WRITE},
    "function-clone": {"POST": WRITE},
    "function-export": {"GET": READ},
    "function-offline": {"POST": WRITE},
    "function-online": {"POST": WRITE},
    "function-pin": {"POST": WRITE},
    "function-recompile": {"POST": WRITE},
    "compile": {"POST": WRITE},
    "function-secrets": {"GET": READ},
    "function-secret": {"PUT": WRITE, "DELETE": WRITE},
    "function-environment": {"GET": READ, "PUT": WRITE, "DELETE": WRITE},
    "environments": {"GET": READ, "POST": WRITE},
    "environment": {"GET": READ, "PUT": WRITE, "DELETE": ADMIN},
    "functions-from-template": {"POST": WRITE},
    "function-layers": {"GET": READ, "PUT": WRITE},
    "layers": {"GET": READ, "POST": WRITE},
    "layer": {"GET": READ, "DELETE": WRITE},
    "layer-versions": {"GET": READ, "POST": WRITE},
    "templates": {"GET": READ},
    "task": {"GET": READ},
    "quota": {"GET": READ},
    "stats": {"GET": READ},
    "versions": {"GET": READ, "POST": WRITE},
    "version": {"GET": READ, "DELETE": WRITE},
    "version-diff": {"GET": READ},
    "version-rollback": {"POST": WRITE},
    "aliases": {"GET": READ, "POST": WRITE},
    "alias": {"GET": READ, "PUT": WRITE, "DELETE": WRITE},
    "rollout": {"GET": READ, "POST": WRITE},
    "rollout-pause": {"POST": WRITE},
    "rollout-resume": {"POST": WRITE},
    "rollout-abort": {"POST": WRITE},
    "rollouts": {"GET": READ},
    "function-invoke": {"POST": CALL},
    "function-async": {"POST": CALL},
    "function-invocations": {"GET": READ},
    "function-logs-stream": {"GET": READ},
    "invocations": {"GET": READ},
    "invocation": {"GET": ANY},
    "invocation-logs": {"GET": READ},
    "invocation-stream": {"GET": READ},
    "invocation-replay": {"POST": WRITE},
    "invocation-cancel": {"POST": WRITE},
    "invocation-report": {"GET": READ},
    "invocation-report-retry": {"POST": WRITE},
    "dlq": {"GET": READ, "DELETE": WRITE},
    "dlq-stats": {"GET": READ},
    "dlq-retry": {"POST": WRITE},
    "dead-letter": {"GET": READ, "DELETE": WRITE},
    "dead-letter-retry": {"POST": WRITE},
    "dead-letter-discard": {"POST": WRITE},
    "workflows": {"GET": READ, "POST": WRITE},
    "workflow": {"GET": READ, "PUT": WRITE, "PATCH": WRITE, "DELETE": WRITE},
    "workflow-validate": {"POST": READ},
    "workflow-versions": {"GET": READ},
    "workflow-version": {"GET": READ},
    "workflow-executions": {"GET": READ, "POST": CALL},
    "executions": {"GET": READ},
    "execution": {"GET": READ},
    "execution-history": {"GET": READ},
    "execution-step": {"GET": READ},
    "execution-stop": {"POST": CALL},
    "webhook": dict.fromkeys(METHODS, EVERYBODY),
    "function-webhook": {"GET": READ, "PUT": WRITE},
    "webhook-enable": {"POST": WRITE},
    "webhook-disable": {"POST": WRITE},
    "webhook-regenerate": {"POST": WRITE},
    "webhook-deliveries": {"GET": READ},
    "webhook-redeliver": {"POST": WRITE},
    "schedules": {"GET": READ, "POST": WRITE},
    "schedule": {"GET": READ, "PUT": WRITE, "PATCH": WRITE, "DELETE": WRITE},
    "schedule-pause": {"POST": WRITE},
    "schedule-resume": {"POST": WRITE},
    "schedule-run": {"POST": WRITE},
    "schedule-next": {"GET": READ},
    "schedule-history": {"GET": READ},
    "retention-stats": {"GET": ADMIN},
    "retention-cleanup": {"POST": ADMIN},
    "events": {"GET": READ, "POST": CALL},
    "event": {"GET": READ},
    "event-replays": {"GET": READ, "POST": WRITE},
    "event-replay": {"GET": READ},
    "event-rules": {"GET": READ, "POST": WRITE},
    "event-rule": {"GET": READ, "PUT": WRITE, "PATCH": WRITE, "DELETE": WRITE},
    "event-rule-test": {"POST": READ},
    "alerts": {"GET": READ, "POST": WRITE},
    "alert": {"GET": READ, "PUT": WRITE, "PATCH": WRITE, "DELETE": WRITE},
    "alert-silence": {"POST": WRITE},
    "alert-unsilence": {"POST": WRITE},
    "alert-test": {"POST": WRITE},
    "alert-history": {"GET": READ},
    "alert-notifications": {"GET": READ},
}


def routes() -> Iterator[tuple[str, str, Any]]:
    """Name, an address and the view of every route; those with a login of their own (admin, static) left out."""
    from django.urls import get_resolver

    def walk(patterns: Any, before: str) -> Iterator[tuple[str, str, Any]]:
        for pattern in patterns:
            if getattr(pattern, "namespace", None) == "admin" or "^static/" in str(pattern.pattern):
                continue
            path = before + str(pattern.pattern)
            if hasattr(pattern, "url_patterns"):
                yield from walk(pattern.url_patterns, path)
            elif pattern.name == "not-found":
                yield "not-found", "/nothing/here", pattern.callback
            else:
                address = re.sub(r"<int:\w+>", "1", re.sub(r"<(str:)?\w+>", "nothing", path))
                yield pattern.name, f"/{address}", pattern.callback

    yield from walk(get_resolver().url_patterns, "")


def test_no_route_is_left_without_an_entry() -> None:
    from accounts.permissions import TABLE

    found = {name for name, _, _ in routes()}
    assert found - set(TABLE) == set(), "routes without an entry in accounts.permissions.TABLE"
    assert set(TABLE) - found == set(), "entries of routes that are not there"
    assert found == set(EXPECTED), "the table of this test"


def test_the_table_names_the_methods_that_there_are() -> None:
    from accounts.permissions import TABLE

    for name, _, view in routes():
        view_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
        if view_class is not None:
            there = {m for m in METHODS if m.lower() in view_class.http_method_names and hasattr(view_class, m.lower())}
            assert there == set(TABLE[name]), name


def test_every_address_for_every_role(locked_entrance: Api) -> None:
    keys = {role: make_key(role, role) for role in ROLES}
    wrong = []
    for name, path, _ in routes():
        for method in METHODS:
            expected = EXPECTED[name].get(method, ANY)
            for role in (*ROLES, ""):
                headers = {"X-API-Key": keys[role]} if role else {}
                answer = locked_entrance(method, BASE + path, headers=headers, json={} if method != "GET" else None)
                got_in = answer.status_code != 401 and not (answer.status_code == 403 and "role" in answer.text)
                refused_as = 401 if not role else 403
                if got_in != (role in expected) or (not got_in and answer.status_code != refused_as):
                    wrong.append((name, method, role or "nobody", answer.status_code))
                assert answer.status_code < 500 or answer.status_code == 503, (name, method, role, answer.text)
    assert wrong == []


def test_an_unlisted_route_is_for_admins_only() -> None:
    from accounts.permissions import right_for
    from accounts.rights import ROLES_WITH

    assert ROLES_WITH[right_for("a-route-nobody-listed", "GET")] == {"admin"}
    assert ROLES_WITH[right_for("functions", "BREW")] == {"admin"}


def test_the_same_refusal_on_hot_and_other_routes(locked_entrance: Api) -> None:
    key = make_key("v", "viewer")
    hot = locked_entrance.post("/functions/x/invoke", {}, headers={"X-API-Key": key})
    other = locked_entrance.post("/functions", {}, headers={"X-API-Key": key})
    assert hot.status_code == other.status_code == 403
    assert hot.json()["code"] == other.json()["code"] == "forbidden"
    assert set(hot.json()) == set(other.json())
