"""Who is let in: keys, sessions, embedded mode, behind proxies; and that a revocation is heard everywhere."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, refusal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def locked(locked_entrance: Api) -> Api:
    return locked_entrance


def test_without_a_key_nobody_gets_in(locked: Api) -> None:
    for method, path in [
        ("GET", "/functions"),
        ("POST", "/functions/hello/invoke"),
        ("POST", "/functions/hello/async"),
        ("GET", "/functions/hello/logs/stream"),
        ("GET", "/me"),
        ("GET", "/metrics"),
        ("GET", "/api/schema"),
    ]:
        answer = locked(method, path)
        refusal(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_probes_need_no_key(locked: Api) -> None:
    assert locked.get("/health").status_code == 200
    assert locked.get("/health/live").status_code == 200
    assert locked.get("/health/ready").status_code in (200, 503)


def test_a_key_in_either_header(locked: Api) -> None:
    key = make_key("ada", "developer")
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        me = locked.get("/me", headers=headers).json()
        assert (me["name"], me["role"], me["keys_required"]) == ("ada", "developer", True)
        assert me["key_prefix"] == key.split("_")[1]


def test_a_wrong_key_is_refused_on_hot_and_other_routes_alike(locked: Api) -> None:
    key = make_key("ada", "developer")
    flipped = key[:-1] + ("a" if key[-1] != "a" else "b")
    unknown = f"nmb_0000000000_{'0' * 43}"
    for bad in (flipped, unknown, "nonsense", ""):
        for method, path in (("GET", "/functions"), ("POST", "/functions/x/invoke")):
            answer = locked(method, path, headers={"Authorization": f"Bearer {bad}"})
            refusal(answer, 401, "invalid_key")


def test_an_expired_key(locked: Api) -> None:
    key = make_key("ada", "developer", expires_at=timezone.now() + timedelta(seconds=1.0))
    assert As(locked, key).get("/me").status_code == 200
    time.sleep(1.1)
    refusal(As(locked, key).get("/me"), 401, "key_expired")


def test_a_bad_key_is_refused_where_none_is_needed(api: Api) -> None:
    assert api.get("/functions").status_code == 200
    refusal(api.get("/functions", headers={"X-API-Key": "nonsense"}), 401, "invalid_key")


def test_life_of_a_key(locked: Api) -> None:
    admin = As(locked, make_key("root", "admin"))
    assert admin.post("/users", {"name": "bob", "role": "developer"}).status_code == 201
    made = admin.post("/apikeys", {"name": "ci", "user": "bob", "role": "invoker", "expires_days": 3})
    assert made.status_code == 201
    body = made.json()
    assert body["role"] == "invoker" and body["key"].startswith(f"nmb_{body['prefix']}_")
    bob = As(locked, body["key"])
    assert bob.get("/me").json()["role"] == "invoker"
    shown = admin.get(f"/apikeys/{body['id']}")
    assert "key" not in shown.json() and body["key"].split("_")[2] not in shown.text
    assert body["key"].split("_")[2] not in admin.get("/apikeys").text
    assert admin("DELETE", f"/apikeys/{body['id']}").status_code == 204
    refusal(bob.get("/me"), 401, "key_revoked")
    assert admin.get(f"/apikeys/{body['prefix']}").json()["active"] is False


def test_nobody_makes_a_key_above_themselves(locked: Api) -> None:
    dev = As(locked, make_key("dev", "developer"))
    assert dev.post("/apikeys", {"name": "mine"}).status_code == 201
    refusal(dev.post("/apikeys", {"name": "x", "role": "admin"}), 403)
    make_key("other", "developer")
    refusal(dev.post("/apikeys", {"name": "x", "user": "other"}), 403)
    lesser = As(locked, dev.post("/apikeys", {"name": "i", "role": "invoker"}).json()["key"])
    refusal(lesser.post("/apikeys", {"name": "more", "role": "developer"}), 403)


def test_a_developers_lesser_key_makes_no_greater_ones(locked: Api) -> None:
    """A developer's key of an admin's account stays a developer's."""
    from accounts import services
    from accounts.selectors import user_get

    make_key("root", "admin")
    key = services.api_key_create(user_get("root"), name="less", role="developer")[1]
    refusal(As(locked, key).post("/apikeys", {"name": "more", "role": "admin"}), 403)


def test_demoting_and_deactivating_the_owner_counts_at_once(locked: Api) -> None:
    admin, dev = As(locked, make_key("root", "admin")), As(locked, make_key("dev", "developer"))
    assert dev.get("/me").json()["role"] == "developer"
    assert admin("PATCH", "/users/dev", json={"role": "viewer"}).status_code == 200
    assert dev.get("/me").json()["role"] == "viewer"
    assert admin("PATCH", "/users/dev", json={"active": False}).status_code == 200
    refusal(dev.get("/me"), 401, "key_revoked")


def test_the_last_admin_stays(locked: Api) -> None:
    admin = As(locked, make_key("root", "admin"))
    refusal(admin("PATCH", "/users/root", json={"role": "viewer"}), 409, "last_admin")
    refusal(admin("PATCH", "/users/root", json={"active": False}), 409, "last_admin")
    assert admin.get("/me").json()["role"] == "admin"


def test_a_user_with_functions_is_not_deleted(locked: Api) -> None:
    admin, dev = As(locked, make_key("root", "admin")), As(locked, make_key("dev", "developer"))
    dev.create("owned")
    refusal(admin("DELETE", "/users/dev"), 409, "user_owns_things")
    assert dev("DELETE", "/functions/owned").status_code == 204
    assert admin("DELETE", "/users/dev").status_code == 204
    refusal(dev.get("/me"), 401)
    refusal(admin("DELETE", "/users/root"), 403)


def test_the_last_use_is_written_behind(locked: Api) -> None:
    from accounts import directory
    from accounts.models import ApiKey

    directory.write_uses()
    key = make_key("ada", "developer")
    assert As(locked, key).get("/me").status_code == 200
    assert ApiKey.objects.get().last_used_at is None
    assert directory.write_uses() == 1
    first = ApiKey.objects.get().last_used_at
    assert first is not None and abs((timezone.now() - first).total_seconds()) < 30
    assert directory.write_uses() == 0


def test_revocation_is_seen_by_another_process_within_a_second(locked: Api, second_process: str) -> None:
    import httpx

    from accounts import services
    from accounts.principal import EMBEDDED

    key = make_key("ada", "developer")
    with httpx.Client(base_url=second_process, headers={"X-API-Key": key}, timeout=10) as elsewhere:
        assert elsewhere.get("/api/v1/me").status_code == 200
        services.api_key_revoke(EMBEDDED, key.split("_")[1])
        began = time.monotonic()
        while elsewhere.get("/api/v1/me").status_code != 401:
            assert time.monotonic() - began < 1.0
            time.sleep(0.01)


class TestEmbedded:
    """Without required keys, on loopback."""

    def test_loopback_may_do_all(self, api: Api) -> None:
        me = api.get("/me").json()
        assert (me["user_id"], me["role"], me["keys_required"]) == (None, "admin", False)

    def test_a_proxy_on_this_machine_is_not_loopback(self, api: Api) -> None:
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
            refusal(api.get("/me", headers={name: "127.0.0.1"}), 401)

    def test_other_addresses_need_a_key(self, api: Api) -> None:
        refusal(self._from(api, ("192.0.2.7", 1)), 401)
        refusal(self._from(api, None), 401)

    def _from(self, api: Api, client: Any) -> Any:
        import httpx

        from nimbus_project.asgi import application

        async def ask() -> httpx.Response:
            async def told(scope: Any, receive: Any, send: Any) -> None:
                await application({**scope, "client": client}, receive, send)

            async with httpx.AsyncClient(transport=httpx.ASGITransport(told), base_url="http://localhost") as http:
                return await http.get("/api/v1/me")

        return api._run(ask())

    def test_foreign_hosts_and_cross_site_posts_stay_refused(self, api: Api) -> None:
        key = make_key("ada", "admin")
        refusal(api.get("/me", headers={"Host": "evil.example"}), 403, "host_not_allowed")
        answer = api.post("/functions", {}, headers={"Origin": "http://evil.example", "X-API-Key": key})
        refusal(answer, 403, "cross_site")


class TestSessions:
    """Django's own login."""

    @pytest.fixture
    def cookies(self) -> dict[str, str]:
        from django.test import Client

        from accounts import services

        services.user_create(name="carol", role="developer", password="correct horse battery")
        client = Client()
        assert client.login(username="carol", password="correct horse battery")
        return {"sessionid": client.cookies["sessionid"].value}

    def test_a_session_reads_without_more(self, locked: Api, cookies: dict[str, str]) -> None:
        header = {"Cookie": f"sessionid={cookies['sessionid']}"}
        assert locked.get("/me", headers=header).json()["name"] == "carol"
        refusal(locked.get("/me", headers={"Cookie": "sessionid=garbage"}), 401)

    @pytest.mark.parametrize("path", ["/functions", "/functions/x/invoke", "/functions/x/async"])
    def test_it_changes_nothing_without_the_csrf_token(self, locked: Api, cookies: dict[str, str], path: str) -> None:
        token = "a" * 32
        bare = {"Cookie": f"sessionid={cookies['sessionid']}; csrftoken={token}"}
        refusal(locked.post(path, {}, headers=bare), 403, "csrf_failed")
        answer = locked.post(path, {}, headers=bare | {"X-CSRFToken": token})
        assert answer.status_code in (400, 404), answer.text

    def test_logging_out_ends_it(self, locked: Api, cookies: dict[str, str]) -> None:
        from django.contrib.sessions.models import Session

        header = {"Cookie": f"sessionid={cookies['sessionid']}"}
        assert locked.get("/me", headers=header).status_code == 200
        Session.objects.all().delete()
        refusal(locked.get("/me", headers=header), 401)

    def test_logging_in_by_the_page(self, locked: Api, cookies: dict[str, str]) -> None:
        page = locked.get("http://localhost:8080/login")
        assert page.status_code == 200 and "csrfmiddlewaretoken" in page.text
        token = page.cookies["csrftoken"]
        form = {"username": "carol", "password": "correct horse battery", "csrfmiddlewaretoken": token}
        cookie = {"Cookie": f"csrftoken={token}"}
        bad = locked("POST", "http://localhost:8080/login", data=form | {"password": "wrong"}, headers=cookie)
        assert bad.status_code == 200 and "sessionid" not in bad.cookies
        good = locked("POST", "http://localhost:8080/login", data=form, headers=cookie)
        assert good.status_code == 302 and good.headers["location"] == "/"
        header = {"Cookie": f"sessionid={good.cookies['sessionid']}"}
        assert locked.get("/me", headers=header).json()["name"] == "carol"

    def test_guessing_passwords_is_slowed_down(self, locked: Api) -> None:
        for path in ("/login", "/admin/login/"):
            codes = [locked("POST", f"http://localhost:8080{path}", data={}).status_code for _ in range(12)]
        assert codes[-1] == 429 and codes[0] != 429
