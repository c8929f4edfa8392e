"""The audit log: every change is in it, no secret is, and nobody takes anything out of it."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, refusal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def admin(locked_entrance: Api) -> As:
    return As(locked_entrance, make_key("root", "admin"))


@pytest.fixture
def dev(locked_entrance: Api) -> As:
    return As(locked_entrance, make_key("dev", "developer"))


def entries(admin: As, query: str = "") -> list[dict[str, Any]]:
    answer = admin.get(f"/audit?limit=100&{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["audit"]
    return found


def test_every_change_of_a_function_is_there_with_who_and_from_where(admin: As, dev: As) -> None:
    made = dev.create("noted", env_vars={"PIN": "one-two-three"})
    changed = dev(
        "PATCH",
        "/functions/noted",
        json={"env_vars": {"PIN": "four"}, "timeout_sec": 7},
        headers={"X-Request-Id": "the-change"},
    )
    assert changed.status_code == 200
    assert dev.post("/functions/noted/offline").status_code == 200
    assert dev.post("/functions/noted/online").status_code == 200
    assert dev("DELETE", "/functions/noted").status_code == 204
    found = entries(admin, f"object={made['id']}")
    assert [e["action"] for e in reversed(found)] == [
        "function.create",
        "function.update",
        "function.offline",
        "function.online",
        "function.delete",
    ]
    update = found[3]
    assert (update["actor"], update["key_prefix"], update["request_id"]) == ("dev", dev.key.split("_")[1], "the-change")
    assert update["address"] == "127.0.0.1"
    assert update["before"]["timeout_sec"] == 30 and update["after"]["timeout_sec"] == 7
    assert update["after"]["env_vars"] == {"PIN": "*** (changed)"}
    assert found[0]["after"] is None and found[-1]["before"] is None
    text = admin.get("/audit?limit=100").text
    assert "one-two-three" not in text and "four" not in text and "def main" not in text


def test_keys_users_cancel_and_replay(admin: As, dev: As) -> None:
    body = admin.post("/apikeys", {"name": "ci", "user": "dev", "role": "invoker"}).json()
    admin("DELETE", f"/apikeys/{body['id']}")
    admin.post("/users", {"name": "eve", "role": "viewer", "password": "Quite-a-long-one-7"})
    admin("PATCH", "/users/eve", json={"role": "developer", "password": "Another-long-one-8"})
    admin("DELETE", "/users/eve")
    dev.create("f")
    sent = dev.post("/functions/f/async", {}).json()["invocation_id"]
    assert dev.post(f"/invocations/{sent}/cancel").status_code == 200
    assert dev.post(f"/invocations/{sent}/replay").status_code == 202
    actions = {e["action"] for e in entries(admin)}
    assert {"key.create", "key.revoke", "user.create", "user.update", "user.delete"} <= actions
    assert {"invocation.cancel", "invocation.replay"} <= actions
    text = admin.get("/audit?limit=100").text
    for secret in ("Quite-a-long-one-7", "Another-long-one-8", body["key"].split("_")[2]):
        assert secret not in text
    changed = entries(admin, "action=user.update")[0]
    assert (changed["before"]["role"], changed["after"]["role"]) == ("viewer", "developer")


def test_a_change_that_fails_leaves_no_entry(admin: As, dev: As) -> None:
    dev.create("f")
    before = len(entries(admin))
    refusal(dev.post("/functions", {"name": "f", "runtime": "python3.11", "handler": "a.b", "code": "b = 1"}), 409)
    refusal(dev("PATCH", "/functions/f", json={"name": "g"}), 400)
    refusal(admin("PATCH", "/users/root", json={"role": "viewer"}), 409)
    assert len(entries(admin)) == before


def test_an_entry_outside_a_transaction_is_a_mistake_of_ours() -> None:
    from accounts import audit

    with pytest.raises(RuntimeError, match="transaction"):
        audit.record("x.y", "x", 1)


def test_filters_and_cursor(admin: As, dev: As) -> None:
    for number in range(5):
        dev.create(f"f{number}")
    assert {e["actor"] for e in entries(admin, "actor=dev")} == {"dev"}
    assert len(entries(admin, "action=function.")) == 5
    assert [e["object_name"] for e in entries(admin, "object=f3")] == ["f3"]
    assert entries(admin, "object_type=nothing") == []
    middle = entries(admin, "object=f2")[0]["at"]
    assert [e["object_name"] for e in entries(admin, f"action=function.create&after={middle}")] == ["f4", "f3"]
    assert [e["object_name"] for e in entries(admin, f"action=function.create&before={middle}")] == ["f1", "f0"]
    seen, cursor = [], ""
    for _ in range(10):
        answer = admin.get(f"/audit?action=function.create&limit=2&cursor={cursor}").json()
        seen += [e["object_name"] for e in answer["audit"]]
        cursor = answer.get("next_cursor", "")
        if not cursor:
            break
    assert seen == ["f4", "f3", "f2", "f1", "f0"]
    for bad in ("before=yesterday", "cursor=xyz", "limit=-1", "format=xml"):
        refusal(admin.get(f"/audit?{bad}"), 400)


def test_exports(admin: As, dev: As) -> None:
    dev.create("f", description="=cmd()")
    dev.create("g")
    table = admin.get("/audit?format=csv&action=function.create")
    assert table.headers["content-type"].startswith("text/csv")
    assert "attachment" in table.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["object_name"] for row in rows] == ["g", "f"]
    assert rows[0]["actor"] == "dev"
    answer = admin.get("/audit?format=json")
    assert len(answer.json()["audit"]) == answer.json()["total"] == len(entries(admin))


def test_a_cell_is_no_formula(admin: As) -> None:
    from accounts.export import _cell

    assert _cell("=1+1") == "'=1+1" and _cell("plain") == "plain" and _cell(None) == ""


class TestAppendOnly:
    """The database itself refuses."""

    @pytest.fixture(autouse=True)
    def _entry(self, admin: As) -> None:
        assert entries(admin)

    def test_no_update(self) -> None:
        from accounts.models import AuditEntry

        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            AuditEntry.objects.update(actor="somebody else")

    def test_no_delete(self) -> None:
        from accounts.models import AuditEntry

        count = AuditEntry.objects.count()
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            AuditEntry.objects.all().delete()
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM accounts_auditentry")
        assert AuditEntry.objects.count() == count

    def test_retention_deletes_what_is_old_and_closes_behind_itself(self) -> None:
        from accounts import audit
        from accounts.models import AuditEntry

        assert audit.prune(datetime(2020, 1, 1, tzinfo=UTC)) == 0
        assert audit.prune(timezone.now() + timedelta(hours=1)) > 0
        assert AuditEntry.objects.count() == 0
        with transaction.atomic():
            audit.record("x.y", "x", 1)
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                AuditEntry.objects.all().delete()

    def test_nobody_but_an_admin_reads_it(self, dev: As) -> None:
        refusal(dev.get("/audit"), 403)
        refusal(dev.get("/audit?format=csv"), 403)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert dev(method, "/audit").status_code == 405
