"""The same key and body is the same invocation; another body is refused; a day later the key is free."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import transaction

from accounts.principal import Principal, acting_as
from functions import directory
from invocations import idempotency, services
from invocations.errors import IdempotencyMismatch
from invocations.models import IdempotencyKey, Invocation
from nimbus_project.core.errors import Conflict, InvalidRequest
from nimbus_project.core.ids import new_id
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, make_function

pytestmark = pytest.mark.usefixtures("transactional_db")

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
FUNCTION = str(new_id())


def claim(body: bytes = b"{}", *, key: str = "k", function: str = FUNCTION, now: datetime = NOW) -> idempotency.Claim:
    with transaction.atomic():
        return idempotency.claim(function, key, body, new_id(), now)


def test_the_first_has_the_key_and_the_others_learn_whose_it_is() -> None:
    first, second = claim(), claim()
    assert (first.first, second.first) == (True, False)
    assert second.invocation_id == first.invocation_id


def test_another_body_is_refused() -> None:
    claim(b"{}")
    with pytest.raises(IdempotencyMismatch):
        claim(b"{ }")


def test_keys_of_different_functions_are_different() -> None:
    assert claim().first
    assert claim(function=str(new_id())).first
    assert claim(key="K").first


def test_keys_of_different_callers_are_different() -> None:
    first = claim()
    with acting_as(Principal(user_id=7, name="ann", role="developer")):
        hers = claim(b"another body")
        assert hers.first and hers.invocation_id != first.invocation_id
        assert not claim(b"another body").first
    with acting_as(Principal(user_id=8, name="ben", role="developer")):
        idempotency.release(FUNCTION, "k", hers.invocation_id)
        assert claim(b"a third").first
    with acting_as(Principal(user_id=7, name="ann", role="developer")):
        assert claim(b"another body").invocation_id == hers.invocation_id
    assert claim().invocation_id == first.invocation_id


def test_one_of_many_at_once_is_first() -> None:
    claims = in_threads(8, lambda _: claim())
    assert [type(each) for each in claims] == [idempotency.Claim] * 8, claims
    assert sorted(each.first for each in claims) == [False] * 7 + [True]  # type: ignore[union-attr]
    assert len({each.invocation_id for each in claims}) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(("hours", "free"), [(23.99, False), (24.01, True)])
def test_a_key_is_kept_for_a_day(hours: float, free: bool) -> None:
    claim()
    assert claim(now=NOW + timedelta(hours=hours)).first is free


def test_after_a_day_another_body_may_have_the_key() -> None:
    claim(b"1")
    assert claim(b"2", now=NOW + timedelta(hours=25)).first


def test_old_keys_are_forgotten() -> None:
    claim(key="old")
    claim(key="new", now=NOW + timedelta(hours=20))
    assert idempotency.forget_old(NOW + timedelta(hours=25)) == 1
    assert [row.key for row in IdempotencyKey.objects.all()] == ["new"]


def test_only_its_holder_frees_a_key() -> None:
    first = claim()
    idempotency.release(FUNCTION, "k", new_id())
    assert not claim().first
    idempotency.release(FUNCTION, "k", first.invocation_id)
    assert claim().first


@pytest.mark.parametrize("key", ["a", "x" * 255, "ä 1"])
def test_usable_keys(key: str) -> None:
    assert idempotency.check(key) == key


@pytest.mark.parametrize("key", ["", "x" * 256, "a\n", "\0", "\x7f"])
def test_unusable_keys(key: str) -> None:
    with pytest.raises(InvalidRequest):
        idempotency.check(key)


# -- through the door


def submit(key: str, event: bytes = b"{}", *, name: str = "hello") -> Invocation:
    new = services.NewInvocation(
        function=directory.look_up(name), event=event, request_id="r", id=new_id(), idempotency_key=key
    )
    return services.submit(new)


def test_a_repeated_request_is_one_row() -> None:
    make_function()
    assert submit("k").pk == submit("k").pk
    assert submit("other").pk != submit("k").pk
    assert Invocation.objects.count() == 2


def test_the_same_request_many_times_at_once_is_one_row() -> None:
    make_function()
    rows = in_threads(8, lambda _: submit("k").pk)
    assert len(set(rows)) == 1 and isinstance(rows[0], UUID), rows
    assert Invocation.objects.count() == 1


def test_a_refused_request_leaves_neither_row_nor_key(monkeypatch: pytest.MonkeyPatch) -> None:
    make_function()

    def broken(*args: object, **more: object) -> None:
        raise RuntimeError("dies before the commit")

    with monkeypatch.context() as patch:
        patch.setattr("invocations.lifecycle.accept", broken)
        with pytest.raises(RuntimeError):
            submit("k")
    assert (Invocation.objects.count(), IdempotencyKey.objects.count()) == (0, 0)
    submit("k")


def test_the_key_of_a_synchronous_call_under_way_is_not_an_invocation_yet() -> None:
    function = make_function()
    claim(function=str(function.pk), now=datetime.now(UTC))
    with pytest.raises(Conflict) as caught:
        submit("k")
    assert caught.value.error_code == "idempotency_in_progress"


def test_nobody_gets_the_answer_to_anothers_key(locked_entrance: Api) -> None:
    ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
    ann.create("hello", shared=True)
    headers = {"Idempotency-Key": "order-17"}
    sent = [who.post("/functions/hello/async?delay_sec=3600", {"by": 1}, headers=headers) for who in (ann, ben, ann)]
    assert [answer.status_code for answer in sent] == [202] * 3, [answer.text for answer in sent]
    hers, his, hers_again = (answer.json()["invocation_id"] for answer in sent)
    assert hers == hers_again != his
    # Nor is a body of one refused because of the other's.
    assert ben.post("/functions/hello/async", {"by": 2}, headers=headers).json()["code"] == "idempotency_mismatch"
    assert Invocation.objects.count() == 2
