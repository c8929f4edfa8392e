"""Executions: states follow one another by rows, calls are made exactly once, and whatever is under way ends with what
it belongs to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from invocations import services as invocation_services
from invocations.models import DeadLetter, Invocation, Report
from tests.integration.executions import advance, answer, history, output, run, start
from tests.integration.plane import in_threads, make_function
from workflows import advance as advancing
from workflows import branches, services
from workflows.errors import ExecutionEnded, ExecutionExists
from workflows.models import Execution, Step

pytestmark = pytest.mark.django_db(transaction=True)

DOUBLE = {"Type": "Task", "Resource": "double", "End": True}


@pytest.fixture(autouse=True)
def functions() -> None:
    make_function("double")
    make_function("other", max_retries=5, on_failure={"event": {"type": "failed"}})


def double(event: Any) -> Any:
    return event * 2


# -- one state after the other


def test_each_type_of_state() -> None:
    states = {
        "Make": {"Type": "Pass", "Result": {"n": 20}, "Next": "Which"},
        "Which": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericGreaterThan": 10, "Next": "Wait"}],
            "Default": "Small",
        },
        "Small": {"Type": "Fail", "Error": "TooSmall"},
        "Wait": {"Type": "Wait", "Seconds": 60, "Next": "Double"},
        "Double": {"Type": "Task", "Resource": "double", "InputPath": "$.n", "ResultPath": "$.twice", "Next": "Done"},
        "Done": {"Type": "Succeed"},
    }
    execution = start(states)
    assert advance(execution).status == "running"
    assert (execution.current_state, Invocation.objects.count()) == ("Wait", 0)
    advance(execution, timezone.now() + timedelta(seconds=61))
    assert execution.current_state == "Double"
    assert answer(double) == 1
    advance(execution, timezone.now() + timedelta(seconds=61))
    assert output(execution) == {"n": 20, "twice": 40}
    assert history(execution) == [(name, "succeeded") for name in ("Make", "Which", "Wait", "Double", "Done")]
    call = Invocation.objects.get()
    assert (call.trigger_type, call.max_attempts, bytes(call.input)) == ("workflow", 1, b"20")
    assert Step.objects.get(state_name="Double").invocation_id == call.pk


def test_the_end_of_a_call_wakes_its_execution_and_nothing_else_does() -> None:
    execution = advance(start({"Double": DOUBLE}, 4))
    assert not advancing.waiting(branches.UUID(int=0), 10)
    answer(double)
    assert [pk for pk, _ in advancing.waiting(branches.UUID(int=0), 10)] == [execution.pk]
    assert output(advance(execution)) == 8
    assert not advancing.waiting(branches.UUID(int=0), 10)


def test_an_alias_a_version_and_lambdas_own_form() -> None:
    invoke = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "double", "Payload.$": "$", "Qualifier": "1"},
        "End": True,
    }
    states = {"A": DOUBLE | {"Resource": "double:latest", "End": False, "Next": "B"}, "B": invoke}
    states["A"].pop("End")
    execution = run(start(states, 3), double)
    assert output(execution) == {"ExecutedVersion": "1", "Payload": 12, "StatusCode": 200}
    assert [call.alias_used for call in Invocation.objects.order_by("id")] == ["latest", ""]


# -- failures


def test_a_function_that_fails_leaves_no_dead_letter_and_no_report_and_is_not_tried_again_by_itself() -> None:
    execution = run(start({"Other": DOUBLE | {"Resource": "other"}}, 1), lambda event: 1 / 0)
    assert (execution.status, execution.error_code) == ("failed", "ZeroDivisionError")
    assert json.loads(execution.error)["errorMessage"] == "division by zero"
    assert (Invocation.objects.get().attempt, DeadLetter.objects.count(), Report.objects.count()) == (1, 0, 0)
    assert history(execution) == [("Other", "failed")]


def test_retried_with_back_off_and_then_caught() -> None:
    states = {
        "Double": DOUBLE
        | {
            "Retry": [{"ErrorEquals": ["ZeroDivisionError"], "MaxAttempts": 2, "IntervalSeconds": 10}],
            "Catch": [{"ErrorEquals": ["States.TaskFailed"], "ResultPath": "$.why", "Next": "Sorry"}],
        },
        "Sorry": {"Type": "Pass", "InputPath": "$.why.Error", "End": True},
    }
    execution = advance(start(states, {"n": 1}))
    for tries in (1, 2):
        answer(lambda event: 1 / 0)
        advance(execution)
        assert Invocation.objects.count() == tries, "not before its time"
        advance(execution, timezone.now() + timedelta(seconds=10 * 2 ** (tries - 1) + 1))
        assert Invocation.objects.count() == tries + 1
    answer(lambda event: 1 / 0)
    assert output(advance(execution)) == "ZeroDivisionError"
    assert history(execution) == [("Double", "caught"), ("Sorry", "succeeded")]
    assert Step.objects.get(state_name="Double").retry_count == 2


@pytest.mark.parametrize(
    ("resource", "error"),
    [("nobody", "Lambda.ResourceNotFoundException"), ("double:nowhere", "Nimbus.alias_not_found")],
)
def test_what_can_not_be_called_is_an_error_like_others(resource: str, error: str) -> None:
    states = {
        "A": DOUBLE | {"Resource": resource, "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "B"}]},
        "B": {"Type": "Pass", "OutputPath": "$.Error", "End": True},
    }
    assert output(run(start(states, 1))) == error


def test_a_call_that_takes_too_long_is_ended() -> None:
    execution = advance(start({"Double": DOUBLE | {"TimeoutSeconds": 5}}, 1))
    call = Invocation.objects.get()
    assert advance(execution, timezone.now() + timedelta(seconds=6)).error_code == "States.Timeout"
    call.refresh_from_db()
    assert (call.status, execution.status) == ("cancelled", "failed")


def test_a_call_that_ended_just_in_time_counts() -> None:
    execution = advance(start({"Double": DOUBLE | {"TimeoutSeconds": 5}}, 1))
    answer(double)
    assert output(advance(execution, timezone.now() + timedelta(seconds=6))) == 2


def test_a_call_that_somebody_cancels_fails_its_step() -> None:
    execution = advance(start({"Double": DOUBLE}, 1))
    invocation_services.cancel(str(Invocation.objects.get().pk))
    assert advance(execution).error_code == "Cancelled"


def test_an_execution_that_takes_too_long_ends_with_its_calls() -> None:
    execution = advance(start({"Double": DOUBLE}, 1, TimeoutSeconds=100))
    later = timezone.now() + timedelta(seconds=101)
    assert (advance(execution, later).status, execution.error_code) == ("timeout", "States.Timeout")
    assert (Invocation.objects.get().status, history(execution)) == ("cancelled", [("Double", "cancelled")])
    assert not advancing.advance(execution.pk, later)


def test_what_goes_round_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advancing, "MAX_STEPS", 250)
    states = {
        "A": {"Type": "Pass", "Next": "B"},
        "B": {"Type": "Choice", "Choices": [{"Variable": "$", "IsNull": False, "Next": "End"}], "Default": "A"},
        "End": {"Type": "Succeed"},
    }
    execution = advance(start(states))
    assert (execution.status, execution.error_code) == ("failed", "States.Runtime")
    assert Step.objects.count() <= 250 + advancing.STEPS_AT_ONCE


def test_a_cause_may_have_any_character() -> None:
    execution = run(start({"A": {"Type": "Fail", "ErrorPath": "$.e", "CausePath": "$.c"}}, {"e": "a\0b", "c": "\0"}))
    assert (execution.status, execution.error_code, execution.error) == ("failed", "a\u2400b", "\u2400")
    assert Step.objects.get().error == "\u2400"


# -- branches

PARALLEL = {
    "Both": {
        "Type": "Parallel",
        "End": True,
        "Branches": [
            {"StartAt": "L", "States": {"L": DOUBLE}},
            {"StartAt": "R1", "States": {"R1": DOUBLE | {"End": False, "Next": "R2"}, "R2": DOUBLE}},
        ],
    }
}
PARALLEL["Both"]["Branches"][1]["States"]["R1"].pop("End")  # type: ignore[index]


def test_branches_run_beside_one_another_and_come_back_in_order() -> None:
    execution = advance(start(PARALLEL, 1))
    assert Invocation.objects.count() == 2
    assert output(run(execution, double)) == [2, 4]


def test_a_branch_that_fails_ends_the_others() -> None:
    execution = advance(start(PARALLEL, 1))
    answer(lambda event: 1 / 0, at_once=1)
    assert (advance(execution).status, execution.error_code) == ("failed", "ZeroDivisionError")
    assert sorted(Invocation.objects.values_list("status", flat=True)) == ["cancelled", "failed"]
    assert sorted(status for _, status in history(execution)) == ["cancelled", "failed", "failed"]


def test_a_parallel_that_is_tried_again_begins_anew_and_may_be_caught() -> None:
    both = PARALLEL["Both"] | {"Retry": [{"ErrorEquals": ["States.BranchFailed"], "MaxAttempts": 1}]}
    execution = advance(start({"Both": both}, 1))
    answer(lambda event: 1 / 0, at_once=1)
    assert advance(execution).status == "running"
    execution = run(execution, double)
    assert output(execution) == [2, 4]
    assert [status for name, status in history(execution) if name == "L"] in (
        ["failed", "succeeded"],
        ["cancelled", "succeeded"],
    )


def mapped(at_once: int) -> dict[str, Any]:
    processor = {"StartAt": "Item", "States": {"Item": DOUBLE}}
    each = {"Type": "Map", "MaxConcurrency": at_once, "ItemProcessor": processor, "End": True}
    return {"Each": each}


def test_a_map_runs_no_more_at_once_than_it_says_and_keeps_the_order() -> None:
    execution = advance(start(mapped(3), list(range(10))))
    assert Invocation.objects.count() == 3
    answer(double)
    advance(execution)
    assert Invocation.objects.count() == 6
    assert output(run(execution, double)) == [n * 2 for n in range(10)]


def test_a_map_of_nothing_and_of_many() -> None:
    assert output(run(start(mapped(0), []))) == []
    execution = advance(start(mapped(0), list(range(100))))
    assert Invocation.objects.count() == 40
    assert output(run(execution, double)) == [n * 2 for n in range(100)]


def test_an_item_that_fails_ends_those_that_are_held() -> None:
    execution = advance(start(mapped(2), [1, 2, 3, 4]))
    answer(lambda event: 1 / 0, at_once=1)
    assert advance(execution).status == "failed"
    assert not Step.objects.filter(status__in=("held", "running")).exists()
    assert Invocation.objects.count() == 2


# -- whoever advances it, and whatever dies


def test_one_call_however_many_advance_it_at_once() -> None:
    execution = start(PARALLEL, 1)
    now = timezone.now()
    assert not [
        one for one in in_threads(8, lambda _: advancing.advance(execution.pk, now)) if not isinstance(one, bool)
    ]
    assert Invocation.objects.count() == 2
    answer(double)
    in_threads(8, lambda _: advancing.advance(execution.pk, datetime.now(UTC)))
    assert Invocation.objects.count() == 3


def test_an_advance_that_dies_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    execution = start(PARALLEL, 1)

    def away(*_: Any, **__: Any) -> None:
        raise DatabaseError("away")

    with monkeypatch.context() as patch:
        patch.setattr(advancing.calls, "submit_call", away)
        with pytest.raises(DatabaseError):
            advancing.advance(execution.pk, timezone.now())
    execution.refresh_from_db()
    assert (execution.status, Step.objects.count(), Invocation.objects.count()) == ("pending", 1, 0)
    assert output(run(execution, double)) == [2, 4]


def test_what_the_platform_can_not_go_on_with_fails_once() -> None:
    execution = start({"Double": DOUBLE}, 1)
    advancing.give_up(execution.pk, timezone.now())
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("failed", "States.Runtime")
    assert not advancing.waiting(branches.UUID(int=0), 10)


# -- starting and stopping


def test_the_same_name_is_the_same_execution_while_it_runs() -> None:
    workflow = services.workflow_create(name="named", definition={"StartAt": "A", "States": {"A": DOUBLE}})

    def begin(text: bytes) -> Execution:
        return services.execution_start(workflow, text, name="order-1", trigger_type="http", request_id="r")

    first = begin(b"1")
    assert begin(b"1").pk == first.pk
    with pytest.raises(ExecutionExists):
        begin(b"2")
    run(first, double)
    with pytest.raises(ExecutionExists):
        begin(b"1")


def test_stopped_with_all_that_is_under_way() -> None:
    execution = advance(start(PARALLEL, 1))
    services.execution_stop(str(execution.pk), error="Enough.")
    execution.refresh_from_db()
    assert (execution.status, execution.error, execution.error_code) == ("cancelled", "Enough.", "Nimbus.Stopped")
    assert set(Invocation.objects.values_list("status", flat=True)) == {"cancelled"}
    assert {status for _, status in history(execution)} == {"cancelled"}
    with pytest.raises(ExecutionEnded):
        services.execution_stop(str(execution.pk))


def test_a_new_definition_is_for_new_executions_and_history_outlives_the_workflow() -> None:
    execution = advance(start({"Double": DOUBLE}, 1))
    name = execution.workflow_name
    changed = services.workflow_update(
        name, definition={"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": "new", "End": True}}}
    )
    assert changed.version == 2
    services.workflow_delete(name)
    assert output(run(execution, double)) == 2
    assert execution.workflow_version == 1


def test_data_that_grows_too_large_fails_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advancing, "config", lambda: type("C", (), {"max_event_bytes": 1000})())
    states = {"Double": DOUBLE | {"Catch": [{"ErrorEquals": ["States.ALL"], "Next": "B"}]}, "B": {"Type": "Succeed"}}
    execution = run(start(states, 1), lambda event: "x" * 2000)
    assert (execution.status, execution.error_code) == ("failed", "States.DataLimitExceeded")
