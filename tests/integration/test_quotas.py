"""Quotas hold under concurrency, on functions and on invocations, and after Redis has forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from accounts import quotas
from accounts.models import Quota
from accounts.principal import EMBEDDED, Principal, acting_as, principal_var
from accounts.quotas import DailyQuotaExceeded, QuotaExceeded
from functions import directory, services
from functions.models import Environment, Function
from invocations import daily
from invocations import services as runs
from invocations.models import Invocation
from invocations.services import NewInvocation, submit
from nimbus_project.core import redis
from nimbus_project.core.errors import Unavailable
from nimbus_project.core.ids import new_id
from tests.integration.plane import Api, in_threads, living_workers, make_function, make_row, refusal, wait_until

pytestmark = pytest.mark.usefixtures("transactional_db", "no_quotas")

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
FIELDS = [
    "function_count",
    "total_memory_mb",
    "today_invocations",
    "total_code_size_kb",
    "max_functions",
    "max_memory_mb",
    "max_invocations_per_day",
    "max_code_size_kb",
    "function_usage_percent",
    "memory_usage_percent",
    "invocation_usage_percent",
    "code_usage_percent",
]


@pytest.fixture
def no_quotas(transactional_db: None) -> Iterator[None]:
    quotas.forget_all()
    yield
    Quota.objects.all().delete()
    Environment.objects.all().delete()
    get_user_model().objects.all().delete()
    quotas.forget_all()


def limit(owner: Any = None, **limits: int) -> None:
    with transaction.atomic():
        Quota.objects.update_or_create(owner=owner, defaults=limits)
        quotas.changed()


def user(name: str) -> Any:
    return get_user_model().objects.create_user(name)


def as_user(owner: Any) -> Any:
    return acting_as(Principal(user_id=owner.pk, name=owner.username, role="developer"))


def an_event(function: Any, **more: Any) -> NewInvocation:
    live = directory.look_up(str(function.pk))
    return NewInvocation(function=live, event=b"{}", request_id="r", id=new_id(), **more)


# -- functions


def test_of_100_creates_at_once_as_many_succeed_as_are_allowed() -> None:
    limit(max_functions=10)
    results = in_threads(100, lambda n: make_function(f"f{n}"))
    assert sum(isinstance(one, Function) for one in results) == 10
    assert all(isinstance(one, Function | QuotaExceeded) for one in results), results
    assert Function.objects.count() == 10


def test_memory_holds_when_creates_and_updates_race() -> None:
    made = [make_function(f"f{n}", memory_mb=128) for n in range(4)]
    limit(max_memory_mb=4 * 128 + 3 * 128)

    def grow(number: int) -> Any:
        if number % 2:
            return make_function(f"g{number}", memory_mb=128)
        return services.function_update(str(made[number // 2 % 4].pk), memory_mb=256)

    results = in_threads(16, grow)
    assert all(isinstance(one, Function | QuotaExceeded) for one in results), results
    total = sum(f.versions.order_by("-version")[0].memory_mb for f in Function.objects.all())
    assert total == 4 * 128 + 3 * 128


def test_every_way_to_grow_is_bounded(api: Api) -> None:
    api.create("one", memory_mb=256)
    api.create("two", memory_mb=256)
    small = api.post("/functions/export", {"ids": ["one"]}).content
    limit(max_functions=2, max_memory_mb=512, max_code_size_kb=1)
    refused = [
        api.post("/functions", {"name": "new", "runtime": "python3.11", "handler": "a.b", "code": "b = 1\n"}),
        api.post("/functions/one/clone", {"name": "copy"}),
        api.put("/functions/one", {"memory_mb": 257}),
        api.put("/functions/one", {"code": "main = 1\n" * 200}),
    ]
    for answer in refused:
        refusal(answer, 403, "quota_exceeded")
    zipped = {"content-type": "application/zip"}
    answer = api("POST", "/functions/import?on_conflict=rename", content=small, headers=zipped)
    assert (answer.json()["imported"], len(answer.json()["failed"])) == ([], 1)
    api.post("/environments", {"name": "big"})
    refusal(api.put("/functions/one/environments/big", {"memory_mb": 512}), 403, "quota_exceeded")
    assert Function.objects.count() == 2
    assert [api.get(f"/functions/{name}").json()["version"] for name in ("one", "two")] == [1, 1]


def test_a_rollback_to_more_memory_is_bounded(api: Api) -> None:
    api.create("one", memory_mb=512)
    api.put("/functions/one", {"memory_mb": 256})
    limit(max_memory_mb=256)
    refusal(api.post("/functions/one/versions/1/rollback"), 403, "quota_exceeded")


def test_above_a_lowered_limit_all_may_stay_and_shrink(api: Api) -> None:
    api.create("one", memory_mb=512)
    limit(max_memory_mb=128, max_functions=1)
    assert api.put("/functions/one", {"timeout_sec": 5}).status_code == 200
    assert api.put("/functions/one", {"memory_mb": 256}).status_code == 200
    refusal(api.put("/functions/one", {"memory_mb": 300}), 403, "quota_exceeded")


def test_owners_have_a_quota_each_and_their_own_row_wins() -> None:
    ann, bob = user("ann"), user("bob")
    limit(max_functions=1)
    limit(bob, max_functions=2)
    make_function("nobodys")
    for owner, allowed in ((ann, 1), (bob, 2)):
        with as_user(owner):
            for number in range(allowed):
                make_function(f"{owner.username}{number}")
            with pytest.raises(QuotaExceeded):
                make_function(f"{owner.username}-more")
    with pytest.raises(QuotaExceeded):
        make_function("nobodys-more")
    assert principal_var.get() is EMBEDDED


# -- invocations


def test_of_100_submits_at_once_as_many_are_accepted_as_are_allowed() -> None:
    function = make_function()
    directory.look_up(str(function.pk))
    limit(max_invocations_per_day=10)
    results = in_threads(100, lambda _: submit(an_event(function)))
    assert sum(isinstance(one, Invocation) for one in results) == 10
    assert all(isinstance(one, Invocation | DailyQuotaExceeded) for one in results), results
    assert Invocation.objects.count() == 10


def test_what_ran_before_the_limit_counts_and_what_ran_yesterday_does_not() -> None:
    for at in (NOON - timedelta(days=1), NOON - timedelta(hours=12), NOON):
        make_row(at)
    daily.take(None, 3, NOON)
    with pytest.raises(DailyQuotaExceeded) as refused:
        daily.take(None, 3, NOON)
    assert refused.value.retry_after_sec == 12 * 3600 + 1
    daily.take(None, 3, NOON + timedelta(hours=12))


def test_a_redis_that_was_started_empty_is_told_by_the_database() -> None:
    function = make_function()
    limit(max_invocations_per_day=5)
    for _ in range(4):
        submit(an_event(function))
    redis.connection().flushall()
    results = in_threads(20, lambda _: submit(an_event(function)))
    assert sum(isinstance(one, Invocation) for one in results) == 1
    assert Invocation.objects.count() == 5


def test_owners_count_apart() -> None:
    daily.take(None, 1, NOON)
    daily.take(7, 1, NOON)
    with pytest.raises(DailyQuotaExceeded):
        daily.take(7, 1, NOON)


def test_a_repeated_request_is_not_counted_again() -> None:
    function = make_function()
    limit(max_invocations_per_day=1)
    first = submit(an_event(function, idempotency_key="k"))
    assert submit(an_event(function, idempotency_key="k")).pk == first.pk


def test_what_could_not_be_stored_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    function = make_function()
    limit(max_invocations_per_day=1)
    with monkeypatch.context() as broken:
        broken.setattr("invocations.services.lifecycle.accept", _raises)
        with pytest.raises(RuntimeError):
            submit(an_event(function))
    submit(an_event(function))


def _raises(*args: Any, **more: Any) -> None:
    raise RuntimeError("no")


def test_without_redis_nobody_passes_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    function = make_function()
    limit(max_invocations_per_day=5)
    event = an_event(function)
    with monkeypatch.context() as away:
        away.setattr(redis, "connection", lambda: _Away())
        with pytest.raises(Unavailable):
            submit(event)
    assert not Invocation.objects.exists()


class _Away:
    def register_script(self, text: str) -> Any:
        def call(**more: Any) -> None:
            raise redis.redis.ConnectionError("away")

        return call


def test_without_a_limit_redis_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    function = make_function()
    monkeypatch.setattr(daily, "take", _raises)
    submit(an_event(function))


def test_a_sync_call_over_quota_is_refused_and_says_until_when(api: Api, worker: None) -> None:
    wait_until(living_workers, "the worker's heartbeat")
    api.create()
    limit(max_invocations_per_day=2)
    for _ in range(2):
        assert api.post("/functions/hello/invoke", {}).status_code == 200
    for route in ("invoke", "async"):
        answer = api.post(f"/functions/hello/{route}", {})
        refusal(answer, 429, "quota_exceeded")
        assert 0 < int(answer.headers["retry-after"]) <= 86_401
    limit(max_invocations_per_day=3)
    assert api.post("/functions/hello/invoke", {}).status_code == 200
    assert api.get("/quota").json()["today_invocations"] == 3


def test_a_call_that_could_not_be_run_is_given_back(api: Api, worker: None) -> None:
    wait_until(living_workers, "the worker's heartbeat")
    api.create("hello", max_concurrency=1)
    limit(max_invocations_per_day=1)
    live = directory.look_up("hello")
    assert runs.take_slot_for(live.id, "somebody", 1, 60_000)
    refusal(api.post("/functions/hello/invoke", {}), 429, "concurrency_limit")
    runs.release_slot(live.id, "somebody")
    assert api.post("/functions/hello/invoke", {}).status_code == 200


# -- GET /quota


def test_the_answer_has_the_contracts_fields(api: Api) -> None:
    empty = api.get("/quota").json()
    assert sorted(empty) == sorted(FIELDS)
    assert set(empty.values()) == {0}
    api.create("one", memory_mb=256, code="main=" + "1" * 1020)
    api.create("two", memory_mb=128, code="main=12345")
    api.put("/functions/two", {"memory_mb": 512})
    make_row(datetime.now(UTC))
    limit(max_functions=8, max_memory_mb=1024, max_invocations_per_day=3, max_code_size_kb=100)
    shown = api.get("/quota").json()
    assert [shown[name] for name in FIELDS] == [2, 768, 1, 2, 8, 1024, 3, 100, 25.0, 75.0, 33.33, 2.0]
