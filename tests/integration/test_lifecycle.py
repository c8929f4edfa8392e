"""The moves of an invocation: legal ones, illegal ones, and races for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from invocations import lifecycle
from invocations.models import Invocation, InvocationLog
from invocations.outcome import ErrorType, Fault, LogLine, Outcome, StartKind, Status
from invocations.retry import MAX_LOST_WORKERS
from tests.integration.plane import in_threads, make_row

pytestmark = pytest.mark.usefixtures("transactional_db")

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LEASE_SEC = 10.0
LATER = NOW + timedelta(seconds=LEASE_SEC + 1)
FIELDS = Invocation._meta.concrete_fields
GOOD = Outcome(status=Status.SUCCESS, output=b"1", duration_ms=2.5)
BAD = Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error="no", error_type="ValueError")


def reread(row: Invocation) -> Invocation:
    return Invocation.objects.get(pk=row.pk)


def claim(row: Invocation, worker: str = "w1", now: datetime = NOW) -> Invocation | None:
    """The row as its worker holds it; each row of these tests is the only one of its function."""
    return lifecycle.claim(row.function_id, worker, now, LEASE_SEC)


def claimed(worker: str = "w1", **values: Any) -> Invocation:
    row = claim(make_row(NOW, **values), worker)
    assert row is not None
    return row


def finish(row: Invocation, outcome: Outcome = GOOD, now: datetime = NOW) -> bool:
    return lifecycle.finish(row, outcome, StartKind.WARM, now, 1.0)


# -- the legal moves


def test_accepted_is_pending_and_due() -> None:
    row = reread(make_row(NOW))
    assert (row.status, row.attempt, row.next_attempt_at) == ("pending", 0, NOW)


def test_accepted_for_later_waits() -> None:
    row = reread(make_row(NOW, delay_sec=60))
    assert (row.status, row.next_attempt_at) == ("pending", NOW + timedelta(seconds=60))
    assert claim(row, now=NOW + timedelta(seconds=59)) is None
    assert claim(row, now=NOW + timedelta(seconds=60)) is not None


def test_claimed_is_running_with_a_lease() -> None:
    row = claim(make_row(NOW, input=b'{"a": 1}'), now=NOW + timedelta(seconds=2))
    assert row is not None
    stored = reread(row)
    assert (stored.status, stored.attempt, stored.worker_id) == ("running", 1, "w1")
    assert stored.lease_expires_at == NOW + timedelta(seconds=2 + LEASE_SEC)
    assert stored.queue_ms == 2000
    assert Invocation.objects.filter(pk=row.pk).values().get() == {f.attname: getattr(row, f.attname) for f in FIELDS}


@pytest.mark.parametrize(
    "outcome",
    [
        GOOD,
        Outcome(status=Status.CANCELLED, fault=Fault.CALLER, error="c", error_type="Cancelled"),
        Outcome(status=Status.FAILED, fault=Fault.CALLER, error="gone", error_type="FunctionDeleted"),
    ],
)
def test_finished_is_the_end(outcome: Outcome) -> None:
    row = claimed()
    assert finish(row, outcome)
    stored = reread(row)
    assert (stored.status, stored.error, stored.completed_at) == (outcome.status, outcome.error, NOW)
    assert (stored.lease_expires_at, stored.next_attempt_at, stored.attempts) == (None, None, [])
    assert stored.start_kind == "warm"


@pytest.mark.parametrize("status", [Status.FAILED, Status.TIMEOUT])
def test_a_failure_is_put_back_until_its_tries_are_used(status: Status) -> None:
    row = make_row(NOW, max_attempts=2)
    bad = Outcome(status=status, fault=Fault.FUNCTION, error="no", error_type="ValueError")
    first = claim(row)
    assert first and finish(first, bad)
    again = reread(row)
    assert (again.status, again.next_attempt_at) == ("pending", NOW + timedelta(seconds=1))
    assert (again.worker_id, again.lease_expires_at, again.lost_attempts) == ("", None, 0)
    second = claim(row, "w2", LATER)
    assert second and finish(second, bad, LATER)
    end = reread(row)
    assert (end.status, end.attempt, end.error, end.error_type) == (status, 2, "no", "ValueError")
    assert [(a["attempt"], a["status"], a["worker_id"]) for a in end.attempts] == [(1, status, "w1")]


def test_a_lost_sandbox_does_not_use_up_a_try() -> None:
    row = claimed(max_attempts=1)
    lost = Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error="x", error_type=ErrorType.SANDBOX_UNAVAILABLE)
    assert finish(row, lost)
    assert (reread(row).status, reread(row).lost_attempts) == ("pending", 1)


def test_given_back_can_be_claimed_at_once() -> None:
    row = claimed()
    assert lifecycle.give_back(row, NOW)
    again = reread(row)
    assert (again.status, again.next_attempt_at, again.lost_attempts) == ("pending", NOW, 1)
    assert again.attempts[0]["error_type"] == ErrorType.WORKER_STOPPED
    assert again.workers_lost == 0, "who stops in good order is no victim of the event"
    assert claim(again, "w2")


def test_an_expired_lease_goes_back_to_the_queue() -> None:
    row, fresh = claimed(), make_row(NOW)
    assert claim(fresh, "w2", LATER)
    assert lifecycle.expire_leases(LATER) == 1
    again = reread(row)
    assert (again.status, again.next_attempt_at, again.lost_attempts) == ("pending", LATER, 1)
    assert again.attempts[0] | {"attempt": 1, "worker_id": "w1", "status": "failed"} == again.attempts[0]
    assert reread(fresh).status == "running"
    assert lifecycle.expire_leases(LATER) == 0


def test_a_run_that_kills_its_workers_is_given_up() -> None:
    row = make_row(NOW)
    now = NOW
    for number in range(MAX_LOST_WORKERS + 1):
        assert claim(row, f"w{number}", now)
        now += timedelta(seconds=LEASE_SEC + 1)
        assert lifecycle.expire_leases(now) == 1
    end = reread(row)
    assert (end.status, end.error_type, end.attempt) == ("failed", ErrorType.WORKER_LOST, MAX_LOST_WORKERS + 1)
    assert [a["attempt"] for a in end.attempts] == list(range(1, MAX_LOST_WORKERS + 1))


def test_an_event_too_old_is_not_tried_again() -> None:
    row = claimed(expires_at=NOW + timedelta(milliseconds=500))
    assert finish(row, BAD)
    assert reread(row).status == "failed"


def test_a_lease_is_renewed_by_its_worker_only() -> None:
    row = claimed()
    assert lifecycle.renew("w2", [row.pk], LATER, LEASE_SEC) == 0
    assert lifecycle.renew("w1", [row.pk], LATER, LEASE_SEC) == 1
    assert lifecycle.expire_leases(LATER) == 0


@pytest.mark.parametrize("begun", [False, True])
def test_cancelled_from_the_queue_or_from_its_run(begun: bool) -> None:
    row = claimed() if begun else make_row(NOW)
    assert lifecycle.cancel(row.pk, LATER)
    stored = reread(row)
    assert (stored.status, stored.error_type, stored.completed_at) == ("cancelled", ErrorType.CANCELLED, LATER)


# -- what loses


def _pending() -> Invocation:
    row: Invocation = make_row(NOW)
    return row


def _ended() -> Invocation:
    row = claimed()
    assert finish(row)
    return row


def _cancelled() -> Invocation:
    row: Invocation = make_row(NOW)
    assert lifecycle.cancel(row.pk, NOW)
    return row


def _of_the_next_try() -> Invocation:
    """As the worker sees it that was thought dead, while another runs the next try."""
    row = claimed()
    assert lifecycle.expire_leases(LATER) == 1
    assert claim(row, "w2", LATER)
    return row


MOVES: dict[str, Callable[[Invocation], bool]] = {
    "claim": lambda row: claim(row, "w9", LATER) is not None,
    "finish": finish,
    "fail": lambda row: finish(row, BAD),
    "give_back": lambda row: lifecycle.give_back(row, LATER),
    "cancel": lambda row: lifecycle.cancel(row.pk, LATER),
    "expire": lambda row: bool(lifecycle.expire_leases(LATER)),
}


@pytest.mark.parametrize(
    ("state", "moves"),
    [
        (_pending, "finish fail give_back expire"),
        (claimed, "claim"),
        (_ended, "claim finish fail give_back cancel expire"),
        (_cancelled, "claim finish fail give_back cancel expire"),
        (_of_the_next_try, "claim finish fail give_back expire"),
    ],
    ids=["pending", "running", "ended", "cancelled", "next try"],
)
def test_an_illegal_move_loses_and_changes_nothing(state: Callable[[], Invocation], moves: str) -> None:
    row = state()
    before = Invocation.objects.filter(pk=row.pk).values().get()
    for move in moves.split():
        assert MOVES[move](row) is False, move
        assert Invocation.objects.filter(pk=row.pk).values().get() == before, move


# -- races


def test_one_of_many_claims_wins() -> None:
    row = make_row(NOW)
    won = [isinstance(got, Invocation) for got in in_threads(16, lambda n: claim(row, f"w{n}"))]
    assert sorted(won) == [False] * 15 + [True]
    stored = reread(row)
    assert (stored.attempt, stored.worker_id) == (1, f"w{won.index(True)}")


def test_finish_against_cancel_has_one_winner() -> None:
    for _ in range(10):
        row = claimed()
        by_worker, by_caller = in_threads(
            2,
            lambda n, row=row: finish(row) if n == 0 else lifecycle.cancel(row.pk, NOW),  # type: ignore[misc]
        )
        assert {by_worker, by_caller} == {True, False}
        assert reread(row).status == ("success" if by_worker else "cancelled")


def test_finish_against_an_expiring_lease_has_one_winner() -> None:
    for _ in range(10):
        row = claimed()
        finished, expired = in_threads(
            2,
            lambda n, row=row: finish(row) if n == 0 else bool(lifecycle.expire_leases(LATER)),  # type: ignore[misc]
        )
        assert {finished, expired} == {True, False}
        assert reread(row).status == ("success" if finished else "pending")


def test_two_reapers_expire_a_lease_once() -> None:
    rows = [claimed() for _ in range(10)]
    assert sum(in_threads(4, lambda _: lifecycle.expire_leases(LATER))) == len(rows)  # type: ignore[arg-type]
    assert all(reread(row).lost_attempts == 1 for row in rows)


# -- what was printed


def test_lines_of_all_tries_are_kept_in_order() -> None:
    row = claimed()
    assert finish(row, Outcome(status=Status.FAILED, fault=Fault.FUNCTION, logs=(LogLine(1, "stdout", "one"),)))
    again = reread(row)
    again = claim(again, "w2", LATER)
    assert again is not None
    assert finish(again, Outcome(status=Status.SUCCESS, output=b"1", logs=(LogLine(2, "stderr", "two"),)))
    stored = InvocationLog.objects.get(pk=row.pk)
    assert orjson.loads(bytes(stored.lines)) == [[1, "stdout", "one"], [2, "stderr", "two"]]


def test_who_loses_the_end_leaves_no_lines() -> None:
    row = _of_the_next_try()
    assert not finish(row, Outcome(status=Status.SUCCESS, output=b"1", logs=(LogLine(1, "stdout", "late"),)))
    assert not InvocationLog.objects.filter(pk=row.pk).exists()


def test_what_a_cancelled_run_had_printed_stays() -> None:
    row = claimed()
    assert lifecycle.cancel(row.pk, NOW)
    killed = Outcome(status=Status.CANCELLED, fault=Fault.CALLER, logs=(LogLine(1, "stdout", "so far"),))
    assert not finish(row, killed)
    assert orjson.loads(bytes(InvocationLog.objects.get(pk=row.pk).lines)) == [[1, "stdout", "so far"]]


# -- what is given up


def test_an_event_too_old_is_never_begun() -> None:
    row = claimed(expires_at=NOW - timedelta(seconds=1))
    assert lifecycle.expire_event(row, NOW)
    end = reread(row)
    assert (end.status, end.error_type, end.attempt) == ("failed", ErrorType.EVENT_TOO_OLD, 0)
    assert (end.started_at, end.billed_time_ms, end.completed_at) == (None, 0, NOW)
    assert not lifecycle.expire_event(row, NOW)


def test_want_of_a_sandbox_is_waited_out_for_as_long_as_the_event_may_be_old() -> None:
    row, now = make_row(NOW, max_attempts=1, expires_at=NOW + timedelta(hours=6)), NOW
    lost = Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error="x", error_type=ErrorType.SANDBOX_UNAVAILABLE)
    while (held := claim(row, now=now)) is not None:
        assert finish(held, lost, now)
        now = reread(row).next_attempt_at or now
    end = reread(row)
    assert (end.status, end.error_type) == ("failed", ErrorType.SANDBOX_UNAVAILABLE)
    assert NOW + timedelta(hours=5, minutes=50) < now < NOW + timedelta(hours=6)
    assert end.attempt > 60 and len(end.attempts) == lifecycle.MAX_HISTORY
    assert end.attempts[-1]["attempt"] == end.attempt - 1, "the newest are kept"
