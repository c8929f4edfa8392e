"""What somebody tries who means harm: fields that are not theirs to set, sessions that are not theirs, pages that send
them elsewhere, proxies that lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.accounts import As, make_key
from tests.integration.conftest import _entrance_with
from tests.integration.plane import ECHO, Api, refusal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

ROOT = "http://localhost:8080"
PASSWORD = "correct horse battery"
NEW = {"name": "hello", "runtime": "python3.11", "handler": "handler.main", "code": ECHO}


# -- fields that are not theirs to set


def test_what_an_answer_shows_and_nobody_sets_is_passed_over(locked_entrance: Api) -> None:
    ann = As(locked_entrance, make_key("ann", "developer"))
    forged = {
        "id": "01900000-0000-7000-8000-000000000000", "status": "offline", "version": 99, "code_hash": "0" * 64,
        "code_size": 1, "created_at": "2000-01-01T00:00:00Z", "updated_at": "2000-01-01T00:00:00Z", "task_id": "x",
        "invocations": 7, "success_rate": 1, "status_message": "x", "last_deployed_at": "2000-01-01T00:00:00Z",
    }  # fmt: skip
    made = ann.post("/functions", NEW | forged).json()
    changed = ann("PATCH", "/functions/hello", json=forged).json()
    for shape in (made, changed):
        kept = {name for name, value in forged.items() if shape.get(name) == value}
        assert kept == set(), kept
    assert (changed["status"], changed["version"]) == ("active", 1)


@pytest.mark.parametrize(
    "field", ["owner", "owner_id", "generation", "last_number", "latest_version", "package_id", "is_ready", "layers"]
)
def test_what_nobody_is_shown_is_refused(locked_entrance: Api, field: str) -> None:
    ann = As(locked_entrance, make_key("ann", "developer"))
    body = refusal(ann.post("/functions", NEW | {field: 1}), 400, "invalid_request")
    assert list(body["details"]) == [field]
    ann.create("there")
    refusal(ann("PATCH", "/functions/there", json={field: 1}), 400, "invalid_request")


@pytest.mark.parametrize(
    "forged", [{"prefix": "x"}, {"secret_sha256": "0" * 64}, {"key": "nmb_x"}, {"owner_id": 1}, {"revoked_at": None}]
)
def test_a_key_is_made_of_nothing_that_was_sent(locked_entrance: Api, forged: dict[str, Any]) -> None:
    ann = As(locked_entrance, make_key("ann", "developer"))
    refusal(ann.post("/apikeys", {"name": "k"} | forged), 400, "invalid_request")


def test_a_key_for_another_or_above_oneself(locked_entrance: Api) -> None:
    make_key("root", "admin")
    ann = As(locked_entrance, make_key("ann", "developer"))
    refusal(ann.post("/apikeys", {"name": "k", "user": "root"}), 403)
    # Not told whether there is such a user either.
    refusal(ann.post("/apikeys", {"name": "k", "user": "nobody-of-this-name"}), 403)
    refusal(ann.post("/apikeys", {"name": "k", "role": "admin"}), 403)


@pytest.mark.parametrize("forged", [{"is_superuser": True}, {"is_staff": True}, {"id": 1}, {"groups": [1]}])
def test_a_user_is_changed_in_its_own_fields_only(locked_entrance: Api, forged: dict[str, Any]) -> None:
    root = As(locked_entrance, make_key("root", "admin"))
    make_key("ann", "developer")
    refusal(root("PATCH", "/users/ann", json=forged), 400, "invalid_request")
    assert root.get("/users/ann").json()["role"] == "developer"


def test_no_method_but_the_requests_own(locked_entrance: Api) -> None:
    viewer = As(locked_entrance, make_key("vic", "viewer"))
    As(locked_entrance, make_key("ann", "developer")).create("hello", shared=True)
    for headers in ({"X-HTTP-Method-Override": "DELETE"}, {"X-HTTP-Method": "DELETE"}, {"X-Method-Override": "DELETE"}):
        assert viewer.get("/functions/hello?_method=DELETE", headers=headers).json()["status"] == "active"
    refusal(viewer.post("/functions/hello?_method=GET", {"_method": "GET"}), 405)


# -- sessions


@pytest.fixture
def carol(locked_entrance: Api) -> Api:
    from accounts import services

    services.user_create(name="carol", role="admin", password=PASSWORD)
    return locked_entrance


def _log_in(api: Api, cookies: str = "", path: str = "/login", **headers: str) -> httpx.Response:
    api.forget_cookies()
    page = api.get(f"{ROOT}{path}", headers=({"Cookie": cookies} if cookies else {}) | headers)
    api.forget_cookies()
    token = _cookie(page.headers.get_list("set-cookie"), "csrftoken")
    form = {"username": "carol", "password": PASSWORD, "csrfmiddlewaretoken": token}
    cookie = "; ".join(filter(None, (cookies, f"csrftoken={token}")))
    answer = api("POST", f"{ROOT}{path}", data=form, headers={"Cookie": cookie} | headers)
    api.forget_cookies()
    return answer


def _name_of(api: Api, session: str) -> str:
    return str(api.get("/me", headers={"Cookie": f"sessionid={session}"}).json().get("name", ""))


def test_a_session_from_before_the_login_is_worth_nothing_after_it(carol: Api) -> None:
    from django.contrib.sessions.backends.db import SessionStore

    planted = SessionStore()
    planted["planted"] = True
    planted.create()
    answer = _log_in(carol, f"sessionid={planted.session_key}")
    assert answer.status_code == 302
    assert answer.cookies["sessionid"] != planted.session_key
    assert _name_of(carol, answer.cookies["sessionid"]) == "carol"
    assert _name_of(carol, str(planted.session_key)) == ""
    # Nor does one that the platform never made become one.
    invented = "a" * 32
    answer = _log_in(carol, f"sessionid={invented}")
    assert answer.cookies["sessionid"] != invented and _name_of(carol, invented) == ""


def test_scripts_and_other_sites_do_not_get_the_cookie(carol: Api) -> None:
    for path in ("/login", "/admin/login/"):
        answer = _log_in(carol, path=path)
        assert answer.status_code == 302, answer.text[-1500:]
        header = next(value for value in answer.headers.get_list("set-cookie") if "sessionid" in value)
        assert "HttpOnly" in header and "SameSite=Lax" in header and "Secure" not in header


def test_logging_out_ends_the_session_on_the_server(carol: Api) -> None:
    answer = _log_in(carol)
    session, token = answer.cookies["sessionid"], answer.cookies["csrftoken"]
    cookie = {"Cookie": f"sessionid={session}; csrftoken={token}"}
    # Not by a link, nor by another site's form.
    assert carol.get(f"{ROOT}/logout", headers=cookie).status_code == 405
    assert carol("POST", f"{ROOT}/logout", headers=cookie).status_code == 403
    assert _name_of(carol, session) == "carol"
    assert carol("POST", f"{ROOT}/logout", headers=cookie | {"X-CSRFToken": token}).status_code == 302
    assert _name_of(carol, session) == ""


def test_the_end_of_a_role_is_the_end_of_its_session(carol: Api) -> None:
    from accounts import services

    services.user_create(name="root", role="admin", password=PASSWORD)
    session = _log_in(carol).cookies["sessionid"]
    header = {"Cookie": f"sessionid={session}"}
    assert carol.get(f"{ROOT}/admin/", headers=header).status_code == 200
    services.user_update("carol", role="viewer")
    assert carol.get(f"{ROOT}/admin/", headers=header).status_code == 302
    refusal(carol.get("/users", headers=header), 403)
    services.user_update("carol", active=False)
    refusal(carol.get("/me", headers=header), 401)


def test_the_login_page_sends_nobody_elsewhere(carol: Api) -> None:
    for target in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        answer = _log_in(carol, path=f"/login?next={target}")
        assert answer.headers["location"] == "/", target


def test_pages_are_not_framed_nor_guessed_at(carol: Api) -> None:
    cookie = f"sessionid={_log_in(carol).cookies['sessionid']}"
    for path in ("/login", "/admin/", "/api/docs", "/api/v1/functions"):
        headers = carol.get(f"{ROOT}{path}", headers={"Accept": "text/html", "Cookie": cookie}).headers
        assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff", path


def test_a_key_does_not_open_the_admin_pages(carol: Api) -> None:
    answer = carol.get(f"{ROOT}/admin/", headers={"X-API-Key": make_key("root", "admin")})
    assert answer.status_code == 302 and "/admin/login/" in answer.headers["location"]


# -- a proxy that ends TLS


@pytest.fixture
def proxied(transactional_db: None, redis_server: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    from accounts import services

    services.user_create(name="carol", role="admin", password=PASSWORD)
    yield from _entrance_with(monkeypatch, NIMBUS_REQUIRE_KEYS="true", NIMBUS_TRUSTED_PROXIES="127.0.0.1")


OVER_TLS = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "Origin": "https://localhost:8080"}


def test_logging_in_behind_it(proxied: Api) -> None:
    answer = _log_in(proxied, **OVER_TLS)
    assert answer.status_code == 302, answer.text[:500]
    set_cookies = answer.headers.get_list("set-cookie")
    assert len(set_cookies) == 2 and all("Secure" in value for value in set_cookies)
    session, token = (_cookie(set_cookies, name) for name in ("sessionid", "csrftoken"))
    headers = {"Cookie": f"sessionid={session}; csrftoken={token}", "X-CSRFToken": token, **OVER_TLS}
    assert proxied.post("/functions", NEW, headers=headers).status_code == 201
    # The page was fetched over plain HTTP, or so it says: not this platform's own then.
    plain = headers | {"Origin": "http://localhost:8080"}
    refusal(proxied.post("/functions", NEW | {"name": "b"}, headers=plain), 403, "csrf_failed")


def _cookie(set_cookies: list[str], name: str) -> str:
    (found,) = (value for value in set_cookies if value.startswith(f"{name}="))
    return found.partition("=")[2].partition(";")[0]


def test_what_anybody_says_about_tls_is_not_believed(carol: Api) -> None:
    answer = _log_in(carol, **{name: value for name, value in OVER_TLS.items() if name != "X-Forwarded-For"})
    assert answer.status_code == 403
