"""Rollouts: begun and steered through the entrance, moved by the beat's task, judged on stored runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from functions import directory, news, rollouts
from functions.models import Function, Rollout
from functions.rollout_policy import Advance, Return, Stats
from invocations.models import Invocation
from nimbus_project.core.ids import new_id
from nimbus_project.core.logging import request_id_var
from tests.integration.plane import Api, in_threads, refusal

A = "/functions/hello/aliases"
R = f"{A}/prod/rollout"
PLAN: dict[str, Any] = {
    "version": 2,
    "steps": [5, 25, 50, 100],
    "interval_sec": 60,
    "max_error_rate": 0.05,
    "max_p95_ms": 500,
    "min_samples": 10,
}


def code(number: int) -> str:
    return f"def main(event, context):\n    return {number}\n"


def routing(*pairs: tuple[int, int]) -> dict[str, Any]:
    return {"weights": [{"version": version, "weight": weight} for version, weight in pairs]}


@pytest.fixture
def plane(api: Api) -> Api:
    """Versions 1, 2 and 3; `prod` sends all calls to version 1."""
    api.create(code=code(1))
    for number in (2, 3):
        api.put("/functions/hello", {"code": code(number)})
    assert api.post(A, {"name": "prod", "routing_config": routing((1, 100))}).status_code == 201
    return api


def start(api: Api, **changes: Any) -> Any:
    return api.post(R, PLAN | changes)


def weights(api: Api) -> dict[int, int]:
    sides = api.get(f"{A}/prod").json()["routing_config"]["weights"]
    return {side["version"]: side["weight"] for side in sides}


def ran(version: int, count: int, **values: Any) -> None:
    """Store runs that ended just now."""
    now = timezone.now()
    fixed: dict[str, Any] = {
        "request_id": "r",
        "function_id": Function.objects.get().pk,
        "function_name": "hello",
        "runtime": "python3.11",
        "version": version,
        "alias_used": "prod",
        "status": "success",
        "duration_ms": 10.0,
        "input": b"{}",
        "created_at": now,
        "completed_at": now,
    }
    Invocation.objects.bulk_create(Invocation(id=new_id(), **fixed | values) for _ in range(count))


def failed(version: int, count: int, **values: Any) -> None:
    ran(version, count, **{"status": "failed", "fault": "function"} | values)


def pass_time(seconds: float) -> None:
    """As if the step had begun, and what ran in it had run, that much earlier."""
    shift = timedelta(seconds=seconds)
    for row in Rollout.objects.all():
        Rollout.objects.filter(pk=row.pk).update(step_began_at=row.step_began_at - shift)
    Invocation.objects.update(created_at=F("created_at") - shift)


def test_a_rollout_begins_with_its_first_step(plane: Api) -> None:
    answer = start(plane)
    assert answer.status_code == 201
    made = answer.json()
    assert (made["status"], made["step"], made["percent"], made["alias"]) == ("running", 0, 5, "prod")
    assert made["weights_before"] == routing((1, 100))["weights"]
    assert [line["action"] for line in made["history"]] == ["started"]
    assert weights(plane) == {1: 95, 2: 5}
    seen = plane.get(R).json()
    assert seen["reason"].startswith("0 of 10 runs") and seen["measured"]["new"]["runs"] == 0


def test_a_good_version_goes_all_the_way(plane: Api) -> None:
    start(plane)
    for percent in (25, 50, 100):
        ran(2, 10)
        assert rollouts.advance_all() == 0, "a step has its length"
        pass_time(60)
        assert rollouts.advance_all() == 1
        assert weights(plane).get(2) == percent
        assert rollouts.advance_all() == 0, "a new step begins with nothing measured"
    ran(2, 10)
    pass_time(60)
    assert rollouts.advance_all() == 1
    ended = plane.get(R).json()
    assert (ended["status"], ended["percent"]) == ("completed", 100)
    assert weights(plane) == {2: 100}
    lines = ended["history"]
    assert [line["action"] for line in lines] == ["started", "advanced", "advanced", "advanced", "completed"]
    assert [line["percent"] for line in lines] == [5, 25, 50, 100, 100]
    assert lines[-1]["measured"]["new"]["runs"] == 10 and "10 runs" in lines[-1]["reason"]


def test_a_bad_version_goes_back_in_the_middle_of_a_step(plane: Api) -> None:
    plane.put(f"{A}/prod", {"routing_config": routing((1, 60), (3, 40))})
    start(plane)
    assert weights(plane) == {1: 57, 2: 5, 3: 38}
    ran(1, 300)
    ran(3, 200)
    ran(2, 9)
    failed(2, 3)
    assert rollouts.advance_all() == 1
    ended = plane.get(R).json()
    assert (ended["status"], ended["percent"]) == ("returned", 0)
    assert weights(plane) == {1: 60, 3: 40}
    assert "3 of 12" in ended["reason"] and ended["history"][-1]["reason"] == ended["reason"]
    assert ended["history"][-1]["measured"]["old"]["runs"] == 500
    assert rollouts.advance_all() == 0


def test_a_slow_version_goes_back(plane: Api) -> None:
    start(plane)
    ran(1, 300)
    ran(2, 20, duration_ms=900.0)
    assert rollouts.advance_all() == 1
    assert "p95" in plane.get(R).json()["reason"]
    assert weights(plane) == {1: 100}


@pytest.mark.parametrize(
    "values",
    [
        {"fault": "platform"},
        {"fault": "caller"},
        {"status": "cancelled"},
        {"alias_used": ""},
        {"alias_used": "beta"},
        {"version": 1},
        {"function_id": new_id()},
        {"created_at": timezone.now() - timedelta(hours=1)},
        {"status": "pending", "fault": ""},
    ],
)
def test_runs_that_say_nothing_about_the_version_do_not_count(plane: Api, values: dict[str, Any]) -> None:
    start(plane)
    failed(**{"version": 2, "count": 30} | values)
    assert rollouts.advance_all() == 0
    assert plane.get(R).json()["measured"]["new"] == {"runs": 0, "failures": 0, "error_rate": 0.0, "p95_ms": None}


def test_a_timeout_counts_against_the_version(plane: Api) -> None:
    start(plane)
    failed(2, 10, status="timeout")
    assert rollouts.advance_all() == 1
    assert plane.get(R).json()["status"] == "returned"


def test_when_all_versions_fail_alike_it_waits(plane: Api) -> None:
    start(plane)
    failed(2, 10)
    failed(1, 50)
    pass_time(60)
    assert rollouts.advance_all() == 0
    assert "no better" in plane.get(R).json()["reason"]


def test_two_beats_at_once_move_once(plane: Api) -> None:
    start(plane)
    ran(2, 10)
    pass_time(60)
    assert sorted(in_threads(6, lambda _: rollouts.advance_all())) == [0, 0, 0, 0, 0, 1]  # type: ignore[type-var]
    assert weights(plane) == {1: 75, 2: 25}
    assert len(plane.get(R).json()["history"]) == 2


@pytest.mark.parametrize("meanwhile", ["pause", "abort", "pause resume"])
def test_what_was_decided_before_somebody_stepped_in_is_dropped(plane: Api, meanwhile: str) -> None:
    start(plane)
    seen = Rollout.objects.select_related("alias__function").get()
    for action in meanwhile.split():
        assert plane.post(f"{R}/{action}").status_code == 200
    before = weights(plane)
    for decision in (Advance("well"), Return("badly")):
        assert rollouts._act(seen, decision, Stats(), Stats(), timezone.now()) is False
    assert weights(plane) == before


def test_two_rollouts_of_one_alias(plane: Api) -> None:
    answers = in_threads(6, lambda n: start(plane, version=2 + n % 2))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"rollout_in_progress"}
    assert Rollout.objects.count() == 1


@pytest.mark.parametrize("state", ["running", "paused"])
def test_the_rollout_owns_its_alias(plane: Api, state: str) -> None:
    start(plane)
    if state == "paused":
        plane.post(f"{R}/pause")
    for answer in (
        start(plane, version=3),
        plane.put(f"{A}/prod", {"routing_config": routing((1, 100))}),
        plane("DELETE", f"{A}/prod"),
        plane.post("/functions/hello/versions", {"publish_alias": "prod"}),
    ):
        refusal(answer, 409, "rollout_in_progress")
    assert plane.put(f"{A}/prod", {"description": "words are free"}).status_code == 200
    for number in (1, 2):
        refusal(plane("DELETE", f"/functions/hello/versions/{number}"), 409, "version_in_use")
    assert weights(plane) == {1: 95, 2: 5}


def test_pause_resume_abort(plane: Api) -> None:
    start(plane)
    assert plane.post(f"{R}/pause").json()["status"] == "paused"
    failed(2, 50)
    assert rollouts.advance_all() == 0, "nothing is judged during a pause"
    refusal(plane.post(f"{R}/pause"), 409, "rollout_state")
    resumed = plane.post(f"{R}/resume").json()
    assert resumed["status"] == "running" and resumed["measured"]["new"]["runs"] == 0
    assert rollouts.advance_all() == 0, "what ran before the resumption is not judged"
    refusal(plane.post(f"{R}/resume"), 409, "rollout_state")
    aborted = plane.post(f"{R}/abort").json()
    assert (aborted["status"], aborted["reason"]) == ("aborted", "By request.")
    assert weights(plane) == {1: 100}
    assert [line["action"] for line in aborted["history"]] == ["started", "paused", "resumed", "aborted"]
    for action in ("pause", "resume", "abort"):
        refusal(plane.post(f"{R}/{action}"), 409, "rollout_state")


def test_after_its_end_another_may_begin_and_both_are_history(plane: Api) -> None:
    start(plane)
    plane.post(f"{R}/abort")
    assert start(plane, version=3).status_code == 201
    page = plane.get("/functions/hello/rollouts").json()
    assert [(row["version"], row["status"]) for row in page["rollouts"]] == [(3, "running"), (2, "aborted")]
    assert page["total"] == 2 and plane.get(R).json()["version"] == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": []}, "steps"),
        ({"steps": [5, 50]}, "steps"),
        ({"steps": [50, 5, 100]}, "steps"),
        ({"steps": [0, 100]}, "steps"),
        ({"steps": "all"}, "steps"),
        ({"interval_sec": 0}, "interval_sec"),
        ({"max_error_rate": 5}, "max_error_rate"),
        ({"max_error_rate": -0.1}, "max_error_rate"),
        ({"max_error_rate": None}, "max_error_rate"),
        ({"max_p95_ms": 0}, "max_p95_ms"),
        ({"min_samples": 0}, "min_samples"),
        ({"min_samples": 5000}, "min_samples"),
        ({"version": 1}, "version"),
        ({"version": "two"}, "version"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_plan_that_can_not_be(plane: Api, changes: dict[str, Any], field: str) -> None:
    told = refusal(start(plane, **changes), 400)
    assert any(name.split(".")[0] == field for name in told["details"])
    assert weights(plane) == {1: 100}


def test_a_first_step_below_what_the_version_has_already(plane: Api) -> None:
    plane.put(f"{A}/prod", {"routing_config": routing((1, 70), (2, 30))})
    assert "30 %" in refusal(start(plane), 400)["error"]
    assert start(plane, steps=[30, 100]).status_code == 201
    assert weights(plane) == {1: 70, 2: 30}


def test_what_is_not_there(plane: Api) -> None:
    refusal(start(plane, version=9), 404, "version_not_found")
    refusal(plane.post(f"{A}/beta/rollout", PLAN), 404, "alias_not_found")
    refusal(plane.post(f"{A}/latest/rollout", PLAN), 400)
    refusal(plane.get(R), 404, "rollout_not_found")
    refusal(plane.post(f"{R}/abort"), 404, "rollout_not_found")
    refusal(plane.get(f"{A}/beta/rollout"), 404, "alias_not_found")


def test_one_rollout_that_fails_does_not_keep_the_others(plane: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    plane.post(A, {"name": "beta", "routing_config": routing((1, 100))})
    start(plane)
    plane.post(f"{A}/beta/rollout", PLAN)
    failed(2, 10)
    failed(2, 10, alias_used="beta")
    act: Callable[..., bool] = rollouts._act

    def break_one(seen: Rollout, *args: Any) -> bool:
        if seen.alias.name == "prod":
            raise OperationalError("deadlock")
        return act(seen, *args)

    monkeypatch.setattr(rollouts, "_act", break_one)
    assert rollouts.advance_all() == 1
    monkeypatch.undo()
    assert rollouts.advance_all() == 1
    assert set(Rollout.objects.values_list("status", flat=True)) == {"returned"}


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    told: list[tuple[str, dict[str, Any]]] = []

    def listen(kind: str, detail: Any) -> None:
        told.append((kind, dict(detail)))

    news.register(listen)
    yield told
    news._listeners.remove(listen)


def test_moves_are_told_and_logged_under_the_one_who_moved(plane: Api, heard: list[tuple[str, dict[str, Any]]]) -> None:
    from accounts.models import AuditEntry

    began = timezone.now()
    start(plane)
    failed(2, 10)
    request_id_var.set("of a call that this thread served before")
    rollouts.advance_all()
    assert [kind for kind, _ in heard] == ["rollout.started", "rollout.returned"]
    assert heard[1][1]["function_name"] == "hello" and "10 of 10" in heard[1][1]["reason"]
    entries = AuditEntry.objects.filter(object_type="rollout", at__gte=began).order_by("at", "pk")
    started, returned = entries
    assert (started.action, started.actor, bool(started.request_id)) == ("rollout.started", "", True)
    assert (returned.action, returned.actor, returned.request_id) == ("rollout.returned", "nimbus-rollout", "")


def test_a_function_that_is_deleted_takes_its_rollout_with_it(plane: Api) -> None:
    start(plane)
    failed(2, 10)
    assert plane("DELETE", "/functions/hello").status_code == 204
    assert rollouts.advance_all() == 0


def test_calls_follow_every_move_at_once(plane: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered for the next call is never older than the last answer."""
    monkeypatch.setattr(directory, "MAX_AGE_SEC", 3600.0)

    def routed() -> Any:
        return (directory.known("hello") or directory.look_up("hello")).aliases["prod"]

    assert routed() == ((1, 100),)
    start(plane)
    assert routed() == ((1, 95), (2, 5))
    ran(2, 10)
    pass_time(60)
    rollouts.advance_all()
    assert routed() == ((1, 75), (2, 25))
    failed(2, 10)
    rollouts.advance_all()
    assert routed() == ((1, 100),)
    start(plane)
    assert routed() == ((1, 95), (2, 5))
    plane.post(f"{R}/abort")
    assert routed() == ((1, 100),)
    plane.post("/functions/hello/versions", {"publish_alias": "prod"})
    assert routed() == ((3, 100),)
