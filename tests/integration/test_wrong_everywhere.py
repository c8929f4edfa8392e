"""Every address × method that takes a body × every wrong body: a 4xx in the one shape, never an error of ours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, refusal
from tests.integration.test_permissions import METHODS, routes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

JSON = {"content-type": "application/json"}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "no JSON": (b"{", JSON),
    "NUL": (b"\0", JSON),
    "no UTF-8": (b'{"name": "\xff"}', JSON),
    "deep": (b"[" * 100_000 + b"]" * 100_000, JSON),
    "deep but JSON": (b'{"ids":' * 1000 + b"1" + b"}" * 1000, JSON),
    "a list": (b"[1]", JSON),
    "null": (b"null", JSON),
    "a number": (b"1e300", JSON),
    "unknown fields": (b'{"\\u0000": 1, "__proto__": {}, "x": null}', JSON),
    "everything null": (b'{"name": null, "ids": null, "value": null, "steps": null, "routing_config": null}', JSON),
    "NUL in a string": (
        b'{"name": "a\\u0000", "ids": ["\\u0000"], "value": "\\u0000", "template": "\\u0000", "layers": ["\\u0000"]}',
        JSON,
    ),
    "a form": (b"name=x", {"content-type": "application/x-www-form-urlencoded"}),
    "no boundary": (b"x", {"content-type": "multipart/form-data"}),
    "not the boundary": (b"x", MULTIPART),
    "no file": (b'--b\r\nContent-Disposition: form-data; name="content"\r\n\r\nx\r\n--b--\r\n', MULTIPART),
    "no zip": (b"PK\x03\x04", {"content-type": "application/zip"}),
    "of no type": (b"{}", {"content-type": "\xff/\xff"}),
}
# They take any JSON for an event, or nothing at all; the first answers with a page.
TAKES_ANYTHING = {"login", "logout", "function-invoke", "function-async"}


def test_a_wrong_body_is_refused_on_every_route(locked_entrance: Api) -> None:
    root = As(locked_entrance, make_key("root", "admin"))
    root.create("nothing")
    weights = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    root.post("/functions/nothing/aliases", {"name": "nothing", **weights})
    root.post("/environments", {"name": "nothing"})
    root.post("/layers", {"name": "nothing", "compatible_runtimes": ["python3.11"]})
    wrong, tried = [], 0
    for name, path, view in routes():
        if name in TAKES_ANYTHING or not path.startswith("/api/v1/"):
            continue
        view_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
        for method in METHODS[1:4]:
            if not hasattr(view_class, method.lower()):
                continue
            for kind, (body, headers) in BODIES.items():
                answer = root(method, path, content=body, headers=_latin(headers))
                tried += 1
                if answer.status_code >= 500 or not _is_fine(answer):
                    wrong.append((name, method, kind, answer.status_code, answer.text[:200]))
    assert wrong == []
    assert tried > 400


def _latin(headers: dict[str, str]) -> Any:
    return {name: value.encode("latin-1") for name, value in headers.items()}


def _is_fine(answer: Any) -> bool:
    """A refusal in the one shape. An action without a body of its own passes one by: that is fine too."""
    if answer.status_code < 300:
        return True
    try:
        refusal(answer, answer.status_code)
    except AssertionError:
        return False
    return 400 <= answer.status_code < 500


def test_a_wrong_query_is_refused_or_passed_by_on_every_list(locked_entrance: Api) -> None:
    root = As(locked_entrance, make_key("root", "admin"))
    root.create("nothing")
    wrong = []
    queries = (
        "limit=-1", "limit=1e9", "offset=99999999999999999999", "cursor=%00", "cursor=AAAA", "before=x", "after=0",
        "after=9999999999", "status=%00", "name=%00", "tags=,,,", "ordering=owner__password", "include=%ff",
        "format=exe", "against=-1", "on_conflict=x", "function_id=%00", "user=%00", "actor=%00", "limit=1&limit=x",
        "action=%00", "object=%00", "environment=%00", "trigger_type=x", "object_type=%00",
    )  # fmt: skip
    for name, path, view in routes():
        view_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
        if not path.startswith("/api/v1/") or "stream" in path or not hasattr(view_class, "get"):
            continue
        for query in queries:
            answer = root.get(f"{path}?{query}")
            if answer.status_code >= 500 or (answer.status_code >= 400 and not _is_fine(answer)):
                wrong.append((name, query, answer.status_code, answer.text[:200]))
    assert wrong == []


def test_every_address_has_a_page_for_a_browser(locked_entrance: Api) -> None:
    """DRF's browsable form of what is there, and of what is not."""
    root = As(locked_entrance, make_key("root", "admin"))
    root.create("nothing", description="<script>alert(1)</script>", env_vars={"A": "</textarea><script>"})
    wrong, pages = [], 0
    for name, path, view in routes():
        view_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
        if not path.startswith("/api/v1/") or "stream" in path or not hasattr(view_class, "get"):
            continue
        answer = root.get(path, headers={"Accept": "text/html"})
        is_page = answer.headers["content-type"].startswith("text/html")
        pages += is_page
        if answer.status_code >= 500 or (is_page and "<script>alert(1)" in answer.text) or "<script></" in answer.text:
            wrong.append((name, answer.status_code, answer.text[:200]))
    assert wrong == []
    assert pages > 25
