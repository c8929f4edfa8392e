"""What failed for good is kept with its event, told once, tried again once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from invocations import dead_letters, lifecycle, redrive
from invocations.models import DeadLetter, Invocation
from invocations.outcome import ErrorType, Fault, Outcome, Status
from invocations.retry import MAX_LOST_WORKERS, GaveUp
from nimbus_project.core.ids import new_id
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, make_dead_letter, make_function, make_row, refusal

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
GOOD = Outcome(status=Status.SUCCESS, output=b"1")
BAD = Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error="no", error_type="ValueError")
CRASHED = Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error="died", error_type=ErrorType.PROCESS_CRASHED)
OUT_OF_TIME = Outcome(status=Status.TIMEOUT, fault=Fault.FUNCTION, error="slow", error_type=ErrorType.TIMEOUT)
DELETED = Outcome(status=Status.FAILED, fault=Fault.CALLER, error="gone", error_type=ErrorType.FUNCTION_DELETED)


def run(row: Invocation, outcome: Outcome, now: datetime = NOW) -> bool:
    """One try of it, which ends so."""
    held = lifecycle.claim(row.function_id, "w", now, 10)
    assert held is not None
    return lifecycle.finish(held, outcome, None, now, 1.0)


# -- made


@pytest.mark.parametrize("outcome", [BAD, CRASHED, OUT_OF_TIME])
def test_a_failure_is_one_when_its_last_try_has_failed(outcome: Outcome) -> None:
    row = make_row(NOW, max_attempts=2, input=b'{"order": 7}', alias_used="prod", owner_id=5, session_key="s", hops=2)
    assert run(row, outcome)
    assert not DeadLetter.objects.exists()
    assert run(row, outcome, NOW + timedelta(seconds=1))
    letter = DeadLetter.objects.get()
    assert (letter.invocation_id, letter.function_id, letter.status) == (row.pk, row.function_id, "pending")
    assert (bytes(letter.input), letter.alias_used, letter.owner_id) == (b'{"order": 7}', "prod", 5)
    assert (letter.session_key, letter.hops, letter.version) == ("s", 2, 1)
    assert (letter.error, letter.error_type, letter.attempts) == (outcome.error, outcome.error_type, 2)
    assert letter.reason == GaveUp.RETRIES_EXHAUSTED
    assert Invocation.objects.get(pk=row.pk).status == outcome.status


def test_of_a_deleted_function_too() -> None:
    assert run(make_row(NOW), DELETED)
    assert DeadLetter.objects.get().reason == GaveUp.FUNCTION_DELETED


def test_for_its_age() -> None:
    row = make_row(NOW, expires_at=NOW - timedelta(seconds=1))
    held = lifecycle.claim(row.function_id, "w", NOW, 10)
    assert held is not None and lifecycle.expire_event(held, NOW)
    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.attempts, letter.error_type) == (GaveUp.EVENT_AGE_EXCEEDED, 0, "EventTooOld")


def test_of_a_run_that_kills_its_workers() -> None:
    row, now = make_row(NOW, input=b'"poison"'), NOW
    for _ in range(MAX_LOST_WORKERS + 1):
        assert not DeadLetter.objects.exists()
        assert lifecycle.claim(row.function_id, "w", now, 10)
        now += timedelta(seconds=11)
        lifecycle.expire_leases(now)
    letter = DeadLetter.objects.get()
    assert (letter.reason, bytes(letter.input)) == (GaveUp.WORKERS_LOST, b'"poison"')


@pytest.mark.parametrize("end", ["success", "cancelled", "cancelled in its run"])
def test_what_did_not_fail_is_none(end: str) -> None:
    row = make_row(NOW, max_attempts=1)
    if end == "cancelled":
        assert lifecycle.cancel(row.pk, NOW)
    else:
        held = lifecycle.claim(row.function_id, "w", NOW, 10)
        assert held is not None
        if end == "cancelled in its run":
            assert lifecycle.cancel(row.pk, NOW)
            assert not lifecycle.finish(held, BAD, None, NOW, 0.0)
        else:
            assert lifecycle.finish(held, GOOD, None, NOW, 0.0)
    assert not DeadLetter.objects.exists()


def test_who_lost_the_run_makes_none() -> None:
    row = make_row(NOW, max_attempts=1)
    held = lifecycle.claim(row.function_id, "w", NOW, 10)
    assert held is not None
    later = NOW + timedelta(seconds=11)
    assert lifecycle.expire_leases(later) == 1
    assert lifecycle.claim(row.function_id, "w2", later, 10)
    assert not lifecycle.finish(held, BAD, None, later, 0.0)
    assert not DeadLetter.objects.exists()


def test_neither_is_there_without_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise DatabaseError("away")

    row = make_row(NOW, max_attempts=1)
    with monkeypatch.context() as patch:
        patch.setattr(dead_letters, "add", away)
        with pytest.raises(DatabaseError):
            run(row, BAD)
    assert Invocation.objects.get(pk=row.pk).status == "running"


# -- tried again


def test_a_retry_is_a_new_invocation_of_the_function_as_it_is_now(api: Api) -> None:
    made = api.create("f", max_retries=4)
    letter = make_dead_letter(function_id=made["id"], function_name="f", input=b'{"a": [1]}', request_id="first")
    assert api.put("/functions/f", {"code": "def main(event):\n    return 2\n"}).status_code == 200
    answer = api.post(f"/dlq/{letter.pk}/retry")
    assert answer.status_code == 202, answer.text
    row = Invocation.objects.get(pk=answer.json()["invocation_id"])
    assert (row.status, row.version, bytes(row.input), row.attempt) == ("pending", 2, b'{"a": [1]}', 0)
    assert (row.dead_letter_id, row.max_attempts, row.request_id) == (letter.pk, 5, "first")
    assert api.get(f"/invocations/{row.pk}").json()["dead_letter_id"] == str(letter.pk)
    shown = api.get(f"/dlq/{letter.pk}").json()
    assert (shown["status"], shown["retry_invocation_id"]) == ("retried", str(row.pk))
    assert shown["resolved_at"]
    refusal(api.post(f"/dlq/{letter.pk}/retry"), 409, "dead_letter_resolved")
    refusal(api.post(f"/dlq/{letter.pk}/discard"), 409, "dead_letter_resolved")


def test_of_many_who_retry_at_once_one_does(api: Api) -> None:
    made = api.create("f")
    letter = make_dead_letter(function_id=made["id"])
    answers = in_threads(8, lambda _: api.post(f"/dlq/{letter.pk}/retry").status_code)
    assert sorted(map(str, answers)) == ["202"] + ["409"] * 7
    assert Invocation.objects.filter(dead_letter_id=letter.pk).count() == 1


def test_a_retry_that_is_not_accepted_leaves_it_as_it_was(api: Api) -> None:
    made = api.create("f")
    letter = make_dead_letter(function_id=made["id"])
    api.post("/functions/f/offline")
    refusal(api.post(f"/dlq/{letter.pk}/retry"), 400, "function_not_active")
    assert api.get(f"/dlq/{letter.pk}").json()["status"] == "pending"
    assert api("DELETE", "/functions/f").status_code == 204
    refusal(api.post(f"/dlq/{letter.pk}/retry"), 404, "function_not_found")
    assert api.post(f"/dlq/{letter.pk}/discard").json()["status"] == "discarded"


def test_through_its_alias_as_that_points_now(api: Api) -> None:
    made = api.create("f")
    api.put("/functions/f", {"code": "def main(event):\n    return 2\n"})
    weights = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    assert api.post("/functions/f/aliases", {"name": "prod", **weights}).status_code == 201
    lost = make_dead_letter(function_id=made["id"], alias_used="gone")
    letter = make_dead_letter(function_id=made["id"], alias_used="prod", version=2)
    row = Invocation.objects.get(pk=api.post(f"/dlq/{letter.pk}/retry").json()["invocation_id"])
    assert (row.version, row.alias_used) == (1, "prod")
    refusal(api.post(f"/dlq/{lost.pk}/retry"), 404, "alias_not_found")


def test_a_retry_that_fails_is_a_dead_letter_of_its_own(api: Api) -> None:
    made = api.create("f", max_retries=0)
    letter = make_dead_letter(function_id=made["id"])
    row = Invocation.objects.get(pk=api.post(f"/dlq/{letter.pk}/retry").json()["invocation_id"])
    assert run(row, BAD, timezone.now())
    assert {each.status for each in DeadLetter.objects.all()} == {"retried", "pending"}


def test_many_each_on_its_own_account(api: Api) -> None:
    made = api.create("f")
    good = [make_dead_letter(function_id=made["id"]) for _ in range(2)]
    orphan = make_dead_letter()
    missing = str(new_id())
    ids = [str(good[0].pk), str(orphan.pk), missing, str(good[1].pk), str(good[0].pk)]
    answer = api.post("/dlq/retry", {"ids": ids})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["success"] == [str(letter.pk) for letter in good]
    assert [each["id"] for each in body["failed"]] == [str(orphan.pk), missing]
    runs = {str(row.pk): str(row.dead_letter_id) for row in Invocation.objects.exclude(dead_letter_id=None)}
    assert {each["invocation_id"]: each["id"] for each in body["retried"]} == runs


def test_the_oldest_of_a_function_up_to_the_bound(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive, "MAX_AT_ONCE", 2)
    made = api.create("f")
    minutes = [timezone.now() - timedelta(minutes=n) for n in (5, 4, 3)]
    letters = [make_dead_letter(at, function_id=made["id"]) for at in minutes]
    make_dead_letter()
    body = api.post("/dlq/retry", {"function_id": "f"}).json()
    assert (body["success"], body["remaining"]) == ([str(letter.pk) for letter in letters[:2]], 1)
    body = api.post("/dlq/retry", {"function_id": made["id"]}).json()
    assert (len(body["success"]), body["remaining"]) == (1, 0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"),
        ({"ids": ["x"], "function_id": "f"}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": "x"}, "ids"),
        ({"ids": [1]}, "ids.0"),
        ({"ids": ["x"] * 501}, "ids"),
        ({"function_id": 7}, "function_id"),
        ({"all": True}, "all"),
    ],
)
def test_wrong_requests_for_many(api: Api, body: dict[str, Any], field: str) -> None:
    assert field in refusal(api.post("/dlq/retry", body), 400)["details"]


# -- read, discarded, deleted


def test_lists_newest_first_by_function_and_status(api: Api) -> None:
    made = api.create("f")
    old, new = (
        make_dead_letter(timezone.now() - timedelta(minutes=n), function_id=made["id"], function_name="f")
        for n in (2, 1)
    )
    other = make_dead_letter()
    body = api.get("/dlq").json()
    assert [each["id"] for each in body["dead_letters"]] == [str(other.pk), str(new.pk), str(old.pk)]
    assert body["total"] == 3
    shown = body["dead_letters"][1]
    assert (shown["reason"], shown["error"], shown["attempts"], shown["input"]) == ("retries_exhausted", "no", 1, {})
    api.post(f"/dlq/{old.pk}/discard")
    for query, count in (("function_id=f", 2), ("status=pending", 2), ("function_id=f&status=discarded", 1)):
        assert api.get(f"/dlq?{query}").json()["total"] == count, query
    assert "status" in refusal(api.get("/dlq?status=lost"), 400)["details"]
    refusal(api.get("/dlq?function_id=nobody"), 404, "function_not_found")


def test_pages_by_cursor(api: Api) -> None:
    letters = [make_dead_letter() for _ in range(5)]
    seen, cursor = [], ""
    for _ in range(3):
        body = api.get(f"/dlq?limit=2&cursor={cursor}").json()
        seen += [each["id"] for each in body["dead_letters"]]
        cursor = body.get("next_cursor", "")
    assert seen == [str(letter.pk) for letter in reversed(letters)] and not cursor
    refusal(api.get("/dlq?cursor=garbage"), 400)


def test_a_large_event_is_named_in_lists_and_shown_alone(api: Api) -> None:
    letter = make_dead_letter(input=b'"' + b"x" * 70_000 + b'"')
    (row,) = api.get("/dlq").json()["dead_letters"]
    assert (row["input"], row["truncated"]) == (None, ["input"])
    assert api.get(f"/dlq/{letter.pk}").json()["input"] == "x" * 70_000


def test_found_by_the_invocation_too(api: Api) -> None:
    letter = make_dead_letter()
    assert api.get(f"/dlq/{letter.invocation_id}").json()["id"] == str(letter.pk)


@pytest.mark.parametrize("reference", ["nothing", "01900000-0000-7000-8000-000000000000", "%00", "é"])
def test_what_is_not_there(api: Api, reference: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/retry"), ("POST", "/discard")):
        refusal(api(method, f"/dlq/{reference}{path}"), 404, "dead_letter_not_found")


def test_in_numbers(api: Api) -> None:
    made = api.create("f")
    first = make_dead_letter(timezone.now() - timedelta(minutes=1), function_id=made["id"], function_name="f")
    make_dead_letter(function_id=made["id"], function_name="f")
    gone = make_dead_letter()
    api.post(f"/dlq/{gone.pk}/discard")
    body = api.get("/dlq/stats").json()
    assert (body["total"], body["by_status"]) == (3, {"pending": 2, "retried": 0, "discarded": 1})
    assert body["by_reason"] == {"retries_exhausted": 2}
    assert body["by_function"] == [{"function_id": made["id"], "function_name": "f", "pending": 2}]
    assert datetime.fromisoformat(body["oldest_pending_at"]) == first.created_at


def test_deleted_one_by_one_or_of_a_function(api: Api) -> None:
    made = api.create("f")
    letters = [make_dead_letter(function_id=made["id"]) for _ in range(3)]
    other = make_dead_letter()
    assert api("DELETE", f"/dlq/{letters[0].pk}").status_code == 204
    refusal(api("DELETE", f"/dlq/{letters[0].pk}"), 404, "dead_letter_not_found")
    assert "function_id" in refusal(api("DELETE", "/dlq"), 400)["details"]
    api.post(f"/dlq/{letters[1].pk}/discard")
    assert api("DELETE", "/dlq?function_id=f&status=discarded").json() == {"deleted": 1}
    assert api("DELETE", "/dlq?function_id=f").json() == {"deleted": 1}
    assert list(DeadLetter.objects.values_list("pk", flat=True)) == [other.pk]


# -- whose


def test_nobody_elses(locked_entrance: Api) -> None:
    ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
    made = ann.create("anns")
    owner = make_function_owner(made["id"])
    letter = make_dead_letter(function_id=made["id"], function_name="anns", owner_id=owner)
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/retry"), ("POST", "/discard")):
        theirs, missing = ben(method, f"/dlq/{letter.pk}{path}"), ben(method, f"/dlq/{new_id()}{path}")
        assert refusal(theirs, 404)["error"] == refusal(missing, 404)["error"]
    assert ben.get("/dlq").json()["total"] == 0
    assert ben.get("/dlq/stats").json()["total"] == 0
    assert ben("DELETE", f"/dlq?function_id={made['id']}").json() == {"deleted": 0}
    body = ben.post("/dlq/retry", {"ids": [str(letter.pk)]}).json()
    assert (body["success"], len(body["failed"])) == ([], 1)
    assert ben.post("/dlq/retry", {"function_id": made["id"]}).json()["success"] == []
    assert ann.get("/dlq").json()["total"] == 1
    assert ann("DELETE", "/functions/anns").status_code == 204
    assert ann.get(f"/dlq/{letter.pk}").status_code == 200, "history outlives the function for its owner"
    assert ben.get("/dlq").json()["total"] == 0


def make_function_owner(function_id: str) -> int | None:
    from functions.models import Function

    owner: int | None = Function.objects.get(pk=function_id).owner_id
    return owner


def test_every_change_is_in_the_audit_log(locked_entrance: Api) -> None:
    from accounts.models import AuditEntry

    dev = As(locked_entrance, make_key("dev", "developer"))
    made = dev.create("f")
    owner = make_function_owner(made["id"])
    letters = [make_dead_letter(function_id=made["id"], owner_id=owner, input=b'"hidden"') for _ in range(4)]
    dev.post(f"/dlq/{letters[0].pk}/retry")
    dev.post(f"/dlq/{letters[1].pk}/discard")
    dev("DELETE", f"/dlq/{letters[2].pk}")
    dev("DELETE", "/dlq?function_id=f")
    entries = AuditEntry.objects.filter(action__startswith="dead_letter.").order_by("pk")
    assert [(e.action, e.actor) for e in entries] == [
        (f"dead_letter.{action}", "dev") for action in ("retry", "discard", "delete", "delete_of_function")
    ]
    assert "hidden" not in str(list(entries.values()))
    assert DeadLetter.objects.count() == 0


def test_of_what_was_retried_who_did_it_is_kept(locked_entrance: Api) -> None:
    dev = As(locked_entrance, make_key("dev", "developer"))
    made = dev.create("f")
    letter = make_dead_letter(function_id=made["id"], owner_id=make_function_owner(made["id"]))
    dev.post(f"/dlq/{letter.pk}/retry")
    assert dev.get(f"/dlq/{letter.pk}").json()["resolved_by"] == "dev"


def test_retried_from_the_admin(admin_client: Any, transactional_db: None) -> None:
    from django.urls import reverse

    function = make_function("f")
    letters = [make_dead_letter(function_id=function.pk) for _ in range(3)]
    address = reverse("admin:invocations_deadletter_changelist")
    data = {"action": "retry", "_selected_action": [str(letter.pk) for letter in letters[:2]]}
    assert admin_client.post(address, data).status_code == 302
    data = {"action": "discard", "_selected_action": [str(letter.pk) for letter in letters]}
    assert admin_client.post(address, data).status_code == 302
    kept = dict(DeadLetter.objects.values_list("pk", "status"))
    assert [kept[letter.pk] for letter in letters] == ["retried", "retried", "discarded"]
    assert Invocation.objects.filter(status="pending").count() == 2
