"""`GET /stats`: the right numbers, of what the caller may see, and hours that are over counted once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.principal import Principal, acting_as
from invocations import statistics
from invocations.models import Invocation
from nimbus_project.core import redis
from nimbus_project.core.ids import new_id
from tests.integration.plane import Api, make_function

pytestmark = pytest.mark.usefixtures("transactional_db")

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


def ran(at: datetime, status: str = "success", runtime: str = "python3.11", **more: Any) -> None:
    values = {"function_id": new_id(), "function_name": "f", "version": 1, "input": b"{}", "request_id": "r"}
    Invocation.objects.create(created_at=at, status=status, runtime=runtime, **values | more)


def hours(**back: float) -> timedelta:
    return timedelta(**back)


def test_counts_by_status_runtime_and_hour() -> None:
    ran(NOW)
    ran(NOW - hours(hours=1), "failed")
    ran(NOW - hours(hours=1), "success", "nodejs20")
    ran(NOW - hours(hours=23, minutes=30))
    ran(NOW - hours(hours=23, minutes=31))
    found = statistics.statistics(NOW)
    assert found["invocations"] == 4
    assert found["by_status"] == {"success": 3, "failed": 1}
    assert found["by_runtime"] == {"python3.11": 3, "nodejs20": 1}
    assert len(found["by_hour"]) == 24
    assert [one["hour"] for one in found["by_hour"]][::23] == [
        datetime(2026, 5, 3, 13, tzinfo=UTC),
        datetime(2026, 5, 4, 12, tzinfo=UTC),
    ]
    assert [one["invocations"] for one in found["by_hour"]] == [1, *[0] * 21, 2, 1]
    assert found["by_hour"][-2]["by_status"] == {"success": 1, "failed": 1}


def test_functions_by_status_and_runtime(api: Api) -> None:
    api.create("one")
    api.create("two")
    api.create("three", runtime="nodejs20", code="exports.main = () => 1", handler="handler.main")
    api.post("/functions/two/offline")
    shown = api.get("/stats").json()
    assert shown["functions"] == 3
    assert shown["functions_by_status"] == {"active": 2, "offline": 1}
    assert shown["functions_by_runtime"] == {"python3.11": 2, "nodejs20": 1}
    assert len(shown["by_hour"]) == 24


def _counting_queries(now: datetime) -> int:
    with CaptureQueriesContext(connection) as queries:
        statistics.hours_until(now)
    return len(queries)


def test_an_hour_that_is_over_and_settled_is_counted_once() -> None:
    ran(NOW - hours(hours=3))
    assert _counting_queries(NOW) == 24
    assert _counting_queries(NOW) == 0
    for key in redis.connection().scan_iter(match=redis.STATS + "*"):
        if 0 < redis.connection().ttl(key) <= statistics.FRESH_SEC:
            redis.connection().delete(key)
    assert _counting_queries(NOW) == 1


def test_an_hour_with_runs_under_way_is_counted_again() -> None:
    ran(NOW - hours(hours=3), "pending")
    statistics.hours_until(NOW)
    ttls = {redis.connection().ttl(key) for key in redis.connection().scan_iter(match=redis.STATS + "*")}
    assert sum(1 for key in redis.connection().scan_iter(match=redis.STATS + "*2026050409")) == 1
    assert redis.connection().ttl(f"{redis.STATS}all:2026050409") <= statistics.FRESH_SEC < max(ttls)


def test_everybody_counts_what_he_may_see() -> None:
    ann, bob = (get_user_model().objects.create_user(name) for name in ("ann", "bob"))
    ran(NOW, owner_id=ann.pk)
    ran(NOW, owner_id=bob.pk, status="failed")
    ran(NOW)
    shared = make_function("shared")
    type(shared).objects.filter(pk=shared.pk).update(shared=True, owner=bob)
    ran(NOW, owner_id=bob.pk, function_id=shared.pk)
    try:
        with acting_as(Principal(user_id=ann.pk, name="ann", role="developer")):
            assert statistics.statistics(NOW)["by_status"] == {"success": 3}
        with acting_as(Principal(user_id=bob.pk, name="bob", role="viewer")):
            assert statistics.statistics(NOW)["by_status"] == {"success": 2, "failed": 1}
        assert statistics.statistics(NOW)["by_status"] == {"success": 3, "failed": 1}
    finally:
        get_user_model().objects.all().delete()


def test_without_redis_it_is_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ran(NOW)

    def away() -> Any:
        raise redis.redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(redis, "connection", away)
        assert statistics.statistics(NOW)["invocations"] == 1
