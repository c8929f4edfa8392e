"""Read ahead: keys and limits that are in use, and in the worker a version that has just been made."""

from __future__ import annotations

import time
from typing import Any

import pytest

from accounts import directory as known_keys
from accounts import quotas
from accounts.models import ApiKey, Quota
from accounts.selectors import user_get
from functions import services
from functions.selectors import spec_get
from functions.spec import FunctionSpec
from tests.integration.accounts import make_key
from tests.integration.plane import make_function, wait_until
from workers.foresight import Foresight
from workers.specs import Specs

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture
def prefix() -> str:
    known_keys.forget_all()
    known_keys._used.clear()
    return make_key("ada", "developer").split("_")[1]


def test_a_key_in_use_is_read_again_and_stays_the_same_object(prefix: str) -> None:
    key = known_keys.look_up(prefix)
    known_keys.note_use(prefix, 5000.0)
    now = time.monotonic() + known_keys.REFRESH_SEC
    known_keys.refresh(now, 5001.0)
    assert known_keys._entries[prefix] == (now, key)
    assert known_keys._entries[prefix][1] is key
    ApiKey.objects.update(role="viewer")
    known_keys.refresh(now + known_keys.REFRESH_SEC, 5002.0)
    assert known_keys._entries[prefix][1].role == "viewer"


def test_a_key_that_is_not_used_any_more_is_not_read_again(prefix: str, django_assert_num_queries: Any) -> None:
    known_keys.look_up(prefix)
    known_keys.note_use(prefix, 5000.0)
    with django_assert_num_queries(0):
        known_keys.refresh(time.monotonic() + known_keys.REFRESH_SEC, 5001.0 + known_keys.IN_USE_SEC)


def test_a_key_revoked_while_it_is_read_again_is_not_believed(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known_keys.look_up(prefix)
    known_keys.note_use(prefix, 5000.0)
    read = known_keys._read

    def read_slowly(row: ApiKey) -> known_keys.KnownKey:
        found = read(row)
        known_keys.forget(prefix)
        return found

    monkeypatch.setattr(known_keys, "_read", read_slowly)
    known_keys.refresh(time.monotonic() + known_keys.REFRESH_SEC, 5001.0)
    assert known_keys.known(prefix) is None


def test_uses_are_forgotten_in_the_end(prefix: str) -> None:
    known_keys.note_use(prefix, time.time() - known_keys.IN_USE_SEC - 1)
    assert known_keys.write_uses() == 1
    assert known_keys.write_uses() == 0
    assert (prefix in known_keys._used, prefix in known_keys._written) == (False, False)


def test_limits_are_read_again_before_their_age_is_over(django_assert_num_queries: Any) -> None:
    quotas.forget_all()
    now = time.monotonic()
    quotas.refresh([None], now)
    assert quotas.known(None) == quotas.Limits()
    with django_assert_num_queries(0):
        quotas.refresh([None], now + quotas.REFRESH_SEC / 2)
    make_key("ada", "developer")
    user = user_get("ada")
    Quota.objects.create(owner=user, max_invocations_per_day=7)
    quotas.refresh([user.pk], now + quotas.REFRESH_SEC)
    limits = quotas.known(user.pk)
    assert limits is not None and limits.max_invocations_per_day == 7


def test_a_worker_has_a_new_version_before_it_is_called() -> None:
    read: list[FunctionSpec] = []
    specs = Specs(spec_get, read.append)
    foresight = Foresight(specs)
    foresight.start()
    try:
        function_id = str(make_function().pk)
        foresight.expect("*")
        foresight.expect("routes")
        foresight.expect(function_id)
        foresight.expect(function_id)
        first = wait_until(lambda: specs.known(function_id, 1, "", 0), "the first version")
        services.function_update("hello", code="def main(event):\n    return 2\n")
        specs.forget(function_id)
        foresight.expect(function_id)
        second = wait_until(lambda: specs.known(function_id, 2, "", 0), "the second version")
        services.function_delete("hello")
        foresight.expect(function_id)
    finally:
        foresight.stop()
    assert read == [first, second]
