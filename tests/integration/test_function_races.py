"""Functions that are read, changed, called and deleted at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from functions import directory, services
from functions.errors import FunctionExists, FunctionNotFound
from functions.models import Function, FunctionVersion, Package
from functions.selectors import function_get
from nimbus_project.core.ids import new_id
from tests.integration.plane import Api, in_threads, make_function, refusal

pytestmark = pytest.mark.usefixtures("transactional_db")


def test_concurrent_updates_give_each_a_number() -> None:
    make_function()
    done = in_threads(8, lambda n: services.function_update("hello", timeout_sec=100 + n).last_number)
    assert sorted(done, key=str) == sorted(range(2, 10), key=str)
    function = Function.objects.get()
    assert (function.last_number, function.latest_version) == (9, 9)
    assert FunctionVersion.objects.count() == 9
    assert {v.timeout_sec for v in FunctionVersion.objects.filter(version__gt=1)} == {100 + n for n in range(8)}


def test_one_of_many_gets_the_name() -> None:
    made = in_threads(8, lambda _: make_function("same"))
    assert sorted(type(each).__name__ for each in made) == ["Function"] + ["FunctionExists"] * 7
    assert (Function.objects.count(), FunctionVersion.objects.count()) == (1, 1)


def test_one_of_many_deletes_it() -> None:
    make_function()
    gone = in_threads(4, lambda _: services.function_delete("hello"))
    assert sorted(type(each).__name__ for each in gone) == ["FunctionNotFound"] * 3 + ["NoneType"]
    assert not Package.objects.exists()


def test_the_same_source_stored_and_removed_at_once_is_never_missing() -> None:
    """Functions come and go; all have the same bytes, which are stored once and removed with the last of them."""

    def come_and_go(n: int) -> None:
        for turn in range(12):
            make_function(f"f{n}-{turn}")
            version = FunctionVersion.objects.select_related("package").get(function__name=f"f{n}-{turn}")
            assert bytes(version.package.data)
            services.function_delete(f"f{n}-{turn}")

    assert in_threads(4, come_and_go) == [None] * 4
    assert not Package.objects.exists()


def test_new_source_given_while_the_last_user_of_it_goes() -> None:
    def update(n: int) -> None:
        make_function(f"u{n}")
        for turn in range(12):
            services.function_update(f"u{n}", code=f"main = {turn}")

    def come_and_go(n: int) -> None:
        for turn in range(12):
            make_function(f"g{n}", code=f"main = {turn}")
            services.function_delete(f"g{n}")

    done = in_threads(4, lambda n: update(n) if n % 2 else come_and_go(n))
    assert done == [None] * 4


def while_it_comes_and_goes(work: Callable[[], object]) -> list[object]:
    """What `work` gave or raised, again and again, while a function is made and deleted."""
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            try:
                make_function()
                services.function_delete("hello")
            except FunctionExists:
                services.function_delete("hello")

    def look(_: int) -> list[object]:
        found: list[object] = []
        for _turn in range(60):
            try:
                found.append(work())
            except FunctionNotFound:
                continue
        return found

    with ThreadPoolExecutor(1) as pool:
        maker = pool.submit(in_threads, 1, lambda _: come_and_go())
        results = in_threads(2, look)
        stop.set()
        assert maker.result() == [None]
    for each in results:
        assert not isinstance(each, BaseException), repr(each)
    return [item for each in results for item in each]  # type: ignore[union-attr]


def _cloned() -> str:
    name = f"clone-{new_id()}"
    services.function_clone("hello", name)
    services.function_delete(name)
    return "hello"


@pytest.mark.parametrize(
    "work",
    [
        lambda: directory.look_up("hello").name,
        lambda: services.function_update("hello", timeout_sec=7).name,
        lambda: services.function_set_online("hello", online=False).name,
        lambda: function_get("hello").name,
        lambda: _cloned(),
    ],
    ids=["look up", "update", "offline", "get", "clone"],
)
def test_what_is_being_deleted_is_there_or_not_found(work: Callable[[], object]) -> None:
    assert set(while_it_comes_and_goes(work)) <= {"hello"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/functions/hello"),
        ("GET", "/functions"),
        ("PUT", "/functions/hello"),
        ("POST", "/functions/hello/async"),
    ],
)
def test_through_the_api_as_well(api: Api, method: str, path: str) -> None:
    def call() -> None:
        answer = api(method, path, json={"timeout_sec": 9}) if method != "GET" else api(method, path)
        if answer.status_code >= 300:
            refusal(answer, 404, "function_not_found")

    while_it_comes_and_goes(call)
