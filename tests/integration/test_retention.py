"""Old rows go: the right ones, in batches, by themselves and when asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from invocations.models import DeadLetter, IdempotencyKey, Invocation, InvocationLog
from nimbus_project.core import redis
from nimbus_project.core.ids import new_id
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, make_dead_letter, refusal
from triggers import retention
from triggers.models import ScheduleFire, WebhookDelivery
from triggers.retention import Wanted

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()


def days(number: float) -> datetime:
    return NOW - timedelta(days=number)


def run(age_days: float, status: str = "success", *, ended_days: float | None = None) -> Any:
    values: dict[str, Any] = {"status": status, "created_at": days(age_days)}
    if status not in ("pending", "running"):
        values["completed_at"] = days(age_days if ended_days is None else ended_days)
    row = Invocation(
        id=new_id(), request_id="r", function_id=new_id(), function_name="f", runtime="python3.11", version=1,
        input=b"{}", **values,
    )  # fmt: skip
    row.save(force_insert=True)
    return row.pk


def log_of(age_days: float) -> Any:
    row = InvocationLog(invocation_id=new_id(), function_id=new_id(), lines=b"[]", created_at=days(age_days))
    row.save(force_insert=True)
    return row.pk


def fire(age_days: float) -> None:
    at = days(age_days)
    ScheduleFire.objects.create(schedule_id=new_id(), function_id=new_id(), fire_time=at, status="fired", created_at=at)


def key(age_days: float) -> None:
    IdempotencyKey.objects.create(
        function_id=new_id(), key="k", body_sha256="0", invocation_id=new_id(), created_at=days(age_days)
    )


def prune(wanted: Wanted | None = None, budget_sec: float = 60.0, **more: Any) -> retention.Pruned:
    return retention.prune(wanted or Wanted(), NOW, budget_sec, pause=lambda _: None, **more)


class TestWhatGoes:
    def test_what_has_ended_and_is_old_enough(self) -> None:
        kept = {
            run(29),
            run(31, "pending"),
            run(31, "running"),
            run(31, ended_days=1),  # waited for a month
        }
        for status in ("success", "failed", "timeout", "cancelled"):
            run(31, status)
        assert prune().deleted == {"invocations": 4}
        assert set(Invocation.objects.values_list("pk", flat=True)) == kept

    def test_logs_fires_and_keys(self) -> None:
        for make in (log_of, fire):
            make(13)
            make(15)
        key(0.5)
        key(1.5)
        assert prune().deleted == {"logs": 1, "schedule_fires": 1, "idempotency_keys": 1}
        assert (InvocationLog.objects.count(), ScheduleFire.objects.count(), IdempotencyKey.objects.count()) == (
            1,
            1,
            1,
        )

    def test_deliveries_of_webhooks(self) -> None:
        for age_days in (13, 15):
            WebhookDelivery.objects.create(
                function_id=new_id(), http_status=200, request_id="r", received_at=days(age_days)
            )
        assert prune(Wanted(tables=["webhook_deliveries"])).deleted == {"webhook_deliveries": 1}
        assert WebhookDelivery.objects.get().received_at == days(13)

    def test_dead_letters(self) -> None:
        kept = make_dead_letter(days(29))
        make_dead_letter(days(31))
        assert prune(Wanted(tables=["dead_letters"])).deleted == {"dead_letters": 1}
        assert [row.pk for row in DeadLetter.objects.all()] == [kept.pk]

    def test_an_age_for_all(self) -> None:
        run(3)
        log_of(3)
        fire(3)
        key(0.1)
        assert prune(Wanted(older_than_days=2)).deleted == {"invocations": 1, "logs": 1, "schedule_fires": 1}
        # A key keeps its promise of 24 hours.
        prune(Wanted(older_than_days=0))
        assert IdempotencyKey.objects.count() == 1

    def test_some_tables_only(self) -> None:
        run(31)
        log_of(31)
        assert prune(Wanted(tables=["logs"])).deleted == {"logs": 1}

    def test_kept_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from nimbus_project.config import config

        monkeypatch.setenv("NIMBUS_RETENTION_INVOCATIONS_DAYS", "0")
        monkeypatch.setenv("NIMBUS_RETENTION_LOGS_DAYS", "0")
        config.cache_clear()
        try:
            run(9999)
            log_of(9999)
            assert prune().deleted == {}
            # Unless somebody asks.
            assert prune(Wanted(older_than_days=1)).deleted == {"invocations": 1, "logs": 1}
        finally:
            monkeypatch.undo()
            config.cache_clear()

    def test_logs_are_not_kept_longer_than_their_invocations(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from invocations.retention import LOGS
        from nimbus_project.config import Config

        values = {"retention_logs_days": 90, "retention_invocations_days": 30}
        assert LOGS.keep_days(Config(**values)) == 30
        assert LOGS.keep_days(Config(**values | {"retention_invocations_days": 0})) == 90
        assert LOGS.keep_days(Config(**values | {"retention_logs_days": 0})) == 30

    def test_a_table_that_fails_does_not_keep_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def pointed_at(before: datetime, limit: int) -> int:
            raise IntegrityError("something points to it")

        broken = replace(retention.LOGS, delete_rows=pointed_at)
        monkeypatch.setattr(retention, "TABLES", (broken, retention.INVOCATIONS))
        run(31)
        log_of(31)
        assert prune().deleted == {"invocations": 1}

    def test_the_audit_log(self) -> None:
        from django.db import transaction

        from accounts import audit
        from accounts.models import AuditEntry

        with transaction.atomic():
            for _ in range(3):
                audit.record("x.y", "x", 1)
        assert audit.prune(timezone.now() + timedelta(hours=1), 2) == 2
        assert AuditEntry.objects.count() == 1
        assert prune(Wanted(older_than_days=1, tables=["audit"])).deleted == {}


def test_the_document_names_every_table() -> None:
    from nimbus_project.config import ROOT

    text = (ROOT / "docs" / "retention.md").read_text()
    assert [name for name in retention.NAMES if f"`{name}`" not in text] == []
    assert len(set(retention.NAMES)) == len(retention.NAMES)


class TestBatches:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "BATCH", 3)

    def test_each_by_its_keys_in_a_transaction_of_its_own(self) -> None:
        for _ in range(8):
            run(31)
        pauses: list[float] = []
        wanted = Wanted(tables=["invocations"])
        with CaptureQueriesContext(
            connection,
        ) as captured:
            result = retention.prune(wanted, NOW, 60, pause=pauses.append)
        assert result.deleted == {"invocations": 8} and result.is_complete
        deletes = [q["sql"] for q in captured if q["sql"].startswith("DELETE")]
        assert len(deletes) == 3 and all(" IN (" in sql for sql in deletes)
        selects = [q["sql"] for q in captured if q["sql"].startswith("SELECT")]
        assert all("LIMIT 3" in sql for sql in selects)
        assert len(pauses) == 3 and min(pauses) >= retention.LEAST_PAUSE_SEC

    def test_the_oldest_first(self) -> None:
        young, old = [run(31) for _ in range(3)], [run(40) for _ in range(3)]
        assert retention.INVOCATIONS.delete(days(30), 3) == 3
        left = set(Invocation.objects.values_list("pk", flat=True))
        assert left == set(young) and not left & set(old)

    def test_a_slice_ends_and_a_message_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for _ in range(7):
            run(31)
        monkeypatch.setattr(retention, "SLICE_SEC", 0.0)
        monkeypatch.setattr(retention, "prune", _with_clock(retention.prune, batches=2))
        assert not retention.go_on(20, ["invocations"]).is_complete
        assert Invocation.objects.count() == 1
        message = redis.connection().rpop("build")
        assert isinstance(message, bytes)
        assert orjson.loads(message)["headers"]["task"] == "nimbus.retention"
        assert retention.go_on(20, ["invocations"]).is_complete
        assert Invocation.objects.count() == 0
        assert redis.connection().llen("build") == 0

    def test_a_row_that_came_meanwhile_stays(self) -> None:
        run(31)

        def meanwhile(_: float) -> None:
            run(1)

        retention.prune(Wanted(), NOW, 60, pause=meanwhile)
        assert Invocation.objects.count() == 1


def _with_clock(real: Callable[..., Any], *, batches: int) -> Callable[..., Any]:
    """`prune` with a clock that allows for so many batches."""

    def prune(wanted: Wanted, now: datetime, budget_sec: float) -> retention.Pruned:
        ticks = iter([0.0, *([0.0, 0.0] * batches)])
        result: retention.Pruned = real(wanted, now, 1.0, clock=lambda: next(ticks, 2.0), pause=lambda _: None)
        return result

    return prune


class TestApi:
    def test_statistics(self, api: Api) -> None:
        run(31)
        run(1)
        told = api.get("/retention/stats").json()
        tables = {table["name"]: table for table in told["tables"]}
        assert {"invocations", "logs", "dead_letters", "idempotency_keys", "schedule_fires", "audit"} <= set(tables)
        mine = tables["invocations"]
        assert (mine["rows"], mine["expired"], mine["keep_days"]) == (2, 1, 30)
        assert datetime.fromisoformat(mine["oldest"]) == days(31)
        assert tables["logs"]["oldest"] is None
        assert told["expired"] == sum(table["expired"] for table in tables.values())
        assert told["hour_utc"] == 3

    def test_asked_for(self, api: Api) -> None:
        run(31)
        run(9)
        dry = api.post("/retention/cleanup", {"older_than_days": 7, "dry_run": True}).json()
        assert (dry["status"], dry["would_delete"], dry["total"]) == ("dry_run", {"invocations": 2}, 2)
        assert Invocation.objects.count() == 2
        done = api.post("/retention/cleanup")
        assert done.status_code == 200
        assert (done.json()["status"], done.json()["deleted"]) == ("completed", {"invocations": 1})
        assert api.post("/retention/cleanup", {"older_than_days": 7}).json()["deleted"] == {"invocations": 1}
        entry = api.get("/audit?action=retention.cleanup").json()["audit"][0]
        assert entry["after"]["deleted"] == {"invocations": 1} and entry["after"]["older_than_days"] == 7

    def test_more_than_a_request_can_do(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "BATCH", 2)
        for _ in range(5):
            run(31)
        monkeypatch.setattr(retention, "prune", _with_clock(retention.prune, batches=1))
        answer = api.post("/retention/cleanup", {"older_than_days": 10})
        assert answer.status_code == 202
        assert answer.json()["status"] == "queued" and answer.json()["deleted"] == {"invocations": 2}
        assert redis.connection().llen("build") == 1
        redis.connection().delete("build")

    def test_refused(self, api: Api) -> None:
        run(31)
        refused: list[tuple[dict[str, Any], str]] = [
            ({"older_than_days": -1}, "older_than_days"),
            ({"older_than_days": 0}, "older_than_days"),
            ({"older_than_days": 10**9}, "older_than_days"),
            ({"older_than_days": "all"}, "older_than_days"),
            ({"tables": []}, "tables"),
            ({"tables": ["users"]}, "tables.0"),
            ({"tables": "logs"}, "tables"),
            ({"dry_run": "maybe"}, "dry_run"),
            ({"older_then_days": 3}, "older_then_days"),
        ]
        for body, field in refused:
            assert list(refusal(api.post("/retention/cleanup", body), 400)["details"]) == [field]
        assert Invocation.objects.count() == 1

    def test_administrators_only(self, locked_entrance: Api) -> None:
        dev = As(locked_entrance, make_key("dev", "developer"))
        refusal(dev.get("/retention/stats"), 403)
        refusal(dev.post("/retention/cleanup", {}), 403)
