"""The directory of functions in memory: never older than a change that it could know of."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from django.db import transaction

from functions import directory, services
from functions.errors import FunctionNotFound
from functions.models import Function, FunctionStatus
from invocations import foresight
from nimbus_project.core import redis
from tests.integration.plane import Api, in_threads, make_function, wait_until

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture(autouse=True)
def _no_news(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entrance that other tests have started in this process hears what is said in Redis, and acts on it a moment
    later, and reads ahead; here only where it is part of the test."""
    if "api" not in request.fixturenames:
        monkeypatch.setattr(directory, "hear", lambda news: None)
        monkeypatch.setattr(foresight, "refresh", lambda: None)


def test_what_was_looked_up_is_known_by_that_reference() -> None:
    made = make_function()
    assert directory.known("hello") is None
    live = directory.look_up("hello")
    assert directory.known("hello") == live
    assert directory.known(str(made.pk)) is None
    assert (live.id, live.name, live.version, live.timeout_sec, live.invokable) == (str(made.pk), "hello", 1, 30, True)


def test_what_does_not_exist_is_not_remembered() -> None:
    with pytest.raises(FunctionNotFound):
        directory.look_up("hello")
    make_function()
    assert directory.look_up("hello").name == "hello"


@pytest.mark.parametrize("reference", ["name", "id"])
def test_a_change_of_this_process_is_seen_at_once(reference: str) -> None:
    made = make_function()
    reference = "hello" if reference == "name" else str(made.pk)
    directory.look_up(reference)
    services.function_update("hello", timeout_sec=77)
    assert directory.known(reference) is None
    assert directory.look_up(reference).timeout_sec == 77
    services.function_set_online("hello", online=False)
    assert directory.known(reference) is None
    services.function_delete("hello")
    with pytest.raises(FunctionNotFound):
        directory.look_up(reference)


def test_a_change_that_is_rolled_back_is_none() -> None:
    make_function()
    live = directory.look_up("hello")

    class Changed(Exception):
        pass

    def change_and_fail() -> None:
        with transaction.atomic():
            services.function_update("hello", timeout_sec=77)
            raise Changed

    with pytest.raises(Changed):
        change_and_fail()
    assert directory.known("hello") == live


def test_a_change_during_the_reading_is_not_overwritten_by_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    make_function()
    read = directory._read

    def read_slowly(function: Function) -> directory.LiveFunction:
        live = read(function)
        monkeypatch.setattr(directory, "_read", read)
        in_threads(1, lambda _: services.function_update("hello", timeout_sec=77))
        return live

    monkeypatch.setattr(directory, "_read", read_slowly)
    assert directory.look_up("hello").timeout_sec == 30  # as it was when it was asked
    assert directory.known("hello") is None
    assert directory.look_up("hello").timeout_sec == 77


def test_a_change_of_another_process_is_told(api: Api) -> None:
    """The entrance listens; what another process does, it says in Redis."""
    made = make_function()
    directory.look_up("hello")
    Function.objects.filter(pk=made.pk).update(status="offline")

    def told() -> bool:
        redis.publish(redis.CHANGES, str(made.pk))
        live = directory.known("hello")
        return live is None or not live.invokable  # dropped, or read again already

    wait_until(told, "the news")
    assert api.post("/functions/hello/async", {}).json()["code"] == "function_not_active"


def test_nobody_is_refused_by_what_is_known_from_before_a_build(api: Api) -> None:
    """Whoever has read that a function is active may call it, though the worker's news of that has not come yet."""
    make_function()
    services.function_set_online("hello", online=False)
    assert not directory.look_up("hello").invokable
    Function.objects.update(status=FunctionStatus.ACTIVE)
    assert api.post("/functions/hello/async", {}).status_code == 202
    refused = services.function_set_online("hello", online=False)
    assert api.post(f"/functions/{refused.pk}/async", {}).json()["code"] == "function_not_active"


def test_news_of_another_function_changes_nothing() -> None:
    make_function("other")
    live = directory.look_up("other")
    directory.forget("01890a5d-ac96-774b-bcce-b302099a8057", "hello")
    assert directory.known("other") == live


def test_news_that_were_lost_are_lost_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("functions.directory.time.monotonic", lambda: now[0])
    make_function()
    directory.look_up("hello")
    Function.objects.update(status="offline")
    now[0] += directory.MAX_AGE_SEC - 0.01
    assert directory.known("hello") is not None
    now[0] += 0.02
    assert directory.known("hello") is None
    assert not directory.look_up("hello").invokable


def test_what_is_in_use_is_read_again_before_its_age_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("functions.directory.time.monotonic", lambda: now[0])
    make_function()
    make_function("unused")
    directory.forget_all()
    directory._in_use.clear()
    directory.look_up("hello")
    Function.objects.update(status="offline")
    for _ in range(5):
        now[0] += directory.REFRESH_SEC
        owners = directory.refresh(now[0])
        assert owners == {None}
        assert (live := directory.known("hello")) is not None
    assert not live.invokable
    assert directory.known("unused") is None


def test_what_is_not_called_any_more_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("functions.directory.time.monotonic", lambda: now[0])
    made = make_function()
    directory.look_up("hello")
    now[0] += directory.IN_USE_SEC + 1
    assert directory.refresh(now[0]) == set()
    assert directory.known(str(made.pk)) is None


def test_what_has_just_changed_is_read_before_it_is_called(django_assert_num_queries: Any) -> None:
    made = make_function()
    directory.refresh(time.monotonic())
    with django_assert_num_queries(0):
        assert (first := directory.known("hello")) is not None
        assert directory.known(str(made.pk)) == first
    services.function_update("hello", code="def main(event):\n    return 2\n")
    assert directory.known("hello") is None
    directory.refresh(time.monotonic())
    assert (second := directory.known("hello")) is not None
    assert (first.version, second.version) == (1, 2)


def test_many_are_read_with_the_queries_of_one(django_assert_num_queries: Any) -> None:
    for number in range(12):
        make_function(f"many-{number}")
    with django_assert_num_queries(5):
        directory.refresh(time.monotonic())
    assert all(directory.known(f"many-{number}") for number in range(12))


def test_a_change_while_it_is_read_again_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    make_function()
    read = directory._read_all

    def read_slowly(functions: list[Function]) -> dict[str, directory.LiveFunction]:
        found = read(functions)
        in_threads(1, lambda _: services.function_update("hello", timeout_sec=77))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(directory, "_read_all", read_slowly)
        directory.refresh(time.monotonic())
    assert directory.known("hello") is None
    directory.refresh(time.monotonic())
    assert (live := directory.known("hello")) is not None and live.timeout_sec == 77


def test_what_was_deleted_or_renamed_behind_our_back_is_known_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("functions.directory.time.monotonic", lambda: now[0])
    made, gone = make_function(), make_function("gone")
    directory.refresh(now[0])
    Function.objects.filter(pk=made.pk).update(name="renamed")
    services.function_delete("gone")
    now[0] += directory.MAX_AGE_SEC
    directory.refresh(now[0])
    assert directory.known("renamed") is not None
    assert directory.known("hello") is None
    assert directory.known(str(gone.pk)) is None


def test_versions_that_calls_asked_for_stay_known() -> None:
    make_function()
    services.function_update("hello", code="def main(event):\n    return 2\n")
    directory.refresh(time.monotonic())
    live = directory.known("hello")
    assert live is not None
    directory.check_version(live, 1)
    directory.refresh(time.monotonic() + directory.REFRESH_SEC)
    assert (again := directory.known("hello")) is not None and again is not live
    assert set(again.timeouts) == {1, 2}


def test_a_started_entrance_reads_ahead(api: Api) -> None:
    made = make_function()
    wait_until(lambda: directory.known(str(made.pk)), "the function in memory before anybody has called it")


def test_without_redis_this_process_still_sees_its_own_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    from redis.exceptions import ConnectionError as RedisConnectionError

    class Away:
        def publish(self, *args: object) -> None:
            raise RedisConnectionError

    make_function()
    directory.look_up("hello")
    with monkeypatch.context() as patch:
        patch.setattr(redis, "connection", Away)
        services.function_update("hello", timeout_sec=77)
    assert directory.known("hello") is None


def test_it_does_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_ENTRIES", 3)
    for number in range(5):
        make_function(f"f{number}")
        directory.look_up(f"f{number}")
    assert len(directory._entries) <= 3
    assert directory.known("f4") is not None


def test_many_look_at_once() -> None:
    make_function()
    gate = threading.Barrier(8)

    def look(_: int) -> str:
        gate.wait(10)
        return directory.look_up("hello").name

    assert in_threads(8, look) == ["hello"] * 8
