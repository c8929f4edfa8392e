"""Definitions: what is read from them, in both spellings."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.unit.workflows.definitions import END, INVOKE, ORDER, PASS, TASK, in_snake_case, problems_with, state_of
from workflows import definition
from workflows.states import ABSENT, Catcher, Resource, Retrier


def test_a_whole_definition() -> None:
    found = definition.parse(ORDER)
    assert found.document == ORDER
    assert (found.start_at, found.timeout_sec, found.comment) == ("Prepare", 3600, ORDER["Comment"])
    assert set(found.states) == {*ORDER["States"], "Left", "Right", "Right's end", "Send"}
    task = found.states["Charge the card"]
    assert task.resource == Resource("charge", "live")
    assert task.retry[0] == Retrier(
        error_equals=("Busy", "States.Timeout"),
        interval_sec=2,
        max_attempts=5,
        backoff_rate=1.5,
        max_delay_sec=60,
        has_full_jitter=True,
    )
    assert task.retry[1] == Retrier(error_equals=("States.ALL",))
    assert task.catch == (Catcher(error_equals=("States.ALL",), next="Failed", result_path="$.error"),)
    assert (task.input_path, task.result_path, task.timeout_sec, task.next) == (
        "$.order",
        "$.charge",
        30,
        "Is it large",
    )
    assert task.parameters == ORDER["States"]["Charge the card"]["Parameters"]
    choice = found.states["Is it large"]
    assert [rule.next for rule in choice.rules] == ["Look", "Rest"]
    assert choice.rules[0].test == {"Variable": "$.order.sum", "NumericGreaterThan": 100}
    assert found.states["Look"].branches == ("Left", "Right")
    ship = found.states["Ship"]
    assert (ship.branches, ship.max_concurrency, ship.items_path) == (("Send",), 4, "$.items")
    assert (ship.parameters, ship.item_selector) == (ABSENT, {"item.$": "$$.Map.Item.Value"})
    failed = found.states["Failed"]
    assert (failed.error, failed.cause_path) == ("NoOrder", "$.error.Cause")


def test_what_is_stored_is_read_the_same_and_once() -> None:
    text = json.dumps(definition.parse(ORDER).document)
    assert definition.from_text(text) == definition.parse(ORDER)
    assert definition.from_text(text) is definition.from_text(text)


def test_nothing_of_the_document_is_changed() -> None:
    document = {"start_at": "A", "States": {"A": {"type": "task", "function_id": "f", "end": True}}}
    before = copy.deepcopy(document)
    definition.parse(document)
    assert document == before


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("work", Resource("work")),
        ("work:prod", Resource("work", "prod")),
        ("work:3", Resource("work", "3")),
        ("work:$LATEST", Resource("work")),
        ("0b54bc2e-5a3c-4b1e-9d6e-1f0f3a1f0f3a", Resource("0b54bc2e-5a3c-4b1e-9d6e-1f0f3a1f0f3a")),
        ("arn:aws:lambda:us-east-1:123456789012:function:work", Resource("work")),
        ("arn:aws-cn:lambda:cn-north-1:123456789012:function:work:7", Resource("work", "7")),
    ],
)
def test_resources(text: str, resource: Resource) -> None:
    assert state_of("Task", Resource=text).resource == resource


@pytest.mark.parametrize(
    "parameters",
    [
        {"FunctionName": "work", "Payload.$": "$"},
        {"FunctionName": "arn:aws:lambda:us-east-1:123456789012:function:work:7"},
        {"FunctionName.$": "$.name", "Qualifier": "prod", "Payload": {"a": 1}},
    ],
)
def test_a_call_by_lambda_invoke(parameters: dict[str, Any]) -> None:
    state = state_of("Task", Resource=INVOKE, Parameters=parameters)
    assert state.resource == Resource("", is_lambda_invoke=True)
    assert state.parameters == parameters


def test_null_is_a_value_of_some_fields() -> None:
    state = state_of("Task", InputPath=None, OutputPath=None, ResultPath=None)
    assert (state.input_path, state.output_path, state.result_path) == (None, None, None)
    assert state_of("Pass", Result=None).result is None
    assert state_of("Pass").result is ABSENT


# Two spellings


def test_the_older_spelling_means_the_same() -> None:
    older = in_snake_case(ORDER)
    assert older["states"]["Ship"]["item_processor"]["processor_config"] == {"mode": "INLINE"}
    assert definition.parse(older) == definition.parse(ORDER)


def test_function_id_and_iterator() -> None:
    found = definition.parse(
        {
            "start_at": "each",
            "states": {
                "each": {
                    "type": "MAP",
                    "iterator": {
                        "start_at": "one",
                        "states": {"one": {"type": "task", "function_id": "f", "end": True}},
                    },
                    "items_path": "$.a",
                    "Parameters": {"max_attempts": 1},
                    "end": True,
                }
            },
        }
    )
    assert found.document["States"]["each"]["Iterator"]["States"]["one"] == {
        "Type": "Task",
        "Resource": "f",
        "End": True,
    }
    assert found.states["each"].item_selector == {"max_attempts": 1}


def test_the_users_own_names_are_never_turned() -> None:
    payload = {"start_at": 1, "states": {"type": "x"}, "next": {"error_equals.$": "$.max_attempts"}}
    states = {
        "next": {"type": "pass", "parameters": payload, "next": "type"},
        "type": {"type": "pass", "result": payload, "end": True},
    }
    found = definition.parse({"start_at": "next", "states": states})
    assert found.states["next"].parameters == payload
    assert found.states["type"].result == payload


@pytest.mark.parametrize(
    ("states", "path"),
    [
        ([{**PASS, "end": True}], "States.A.End"),
        ([{"Type": "Task", "Resource": "f", "function_id": "f", "End": True}], "States.A.Resource"),
        ([{**TASK, "Retry": [{"ErrorEquals": ["E"], "error_equals": ["E"]}]}], "States.A.Retry[0].ErrorEquals"),
        (
            [
                {
                    "Type": "Choice",
                    "Choices": [{"Not": {"Variable": "$", "variable": "$", "IsNull": True}, "Next": "B"}],
                },
                END,
            ],
            "States.A.Choices[0].Not.Variable",
        ),
    ],
)
def test_one_field_in_two_spellings(states: list[dict[str, Any]], path: str) -> None:
    assert "two spellings" in problems_with(*states)[path]
