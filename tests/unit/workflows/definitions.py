"""Definitions of one state or a few, for the tests of the language."""

from __future__ import annotations

from typing import Any

import pytest

from workflows import definition
from workflows.definition import DefinitionInvalid
from workflows.states import Definition, State

END: dict[str, Any] = {"Type": "Succeed"}
PASS: dict[str, Any] = {"Type": "Pass", "End": True}
TASK: dict[str, Any] = {"Type": "Task", "Resource": "work", "End": True}
INVOKE = "arn:aws:states:::lambda:invoke"

ORDER: dict[str, Any] = {
    "Comment": "All types of states, each with most of its fields",
    "StartAt": "Prepare",
    "Version": "1.0",
    "TimeoutSeconds": 3600,
    "QueryLanguage": "JSONPath",
    "States": {
        "Prepare": {"Type": "Pass", "Result": {"start_at": 1}, "ResultPath": "$.r", "Next": "Charge the card"},
        "Charge the card": {
            "Type": "Task",
            "Comment": "calls a function",
            "Resource": "arn:aws:lambda:us-east-1:123456789012:function:charge:live",
            "InputPath": "$.order",
            "Parameters": {"max_attempts": 3, "id.$": "$.id", "text.$": "States.Format('{}', $.id)"},
            "ResultSelector": {"receipt.$": "$.id"},
            "ResultPath": "$.charge",
            "OutputPath": "$",
            "TimeoutSeconds": 30,
            "Retry": [
                {
                    "ErrorEquals": ["Busy", "States.Timeout"],
                    "IntervalSeconds": 2,
                    "MaxAttempts": 5,
                    "BackoffRate": 1.5,
                    "MaxDelaySeconds": 60,
                    "JitterStrategy": "FULL",
                },
                {"ErrorEquals": ["States.ALL"]},
            ],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Failed", "ResultPath": "$.error"}],
            "Next": "Is it large",
        },
        "Is it large": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.order.sum", "NumericGreaterThan": 100, "Next": "Look"},
                {
                    "And": [{"Variable": "$.a", "IsPresent": True}, {"Not": {"Variable": "$.a", "IsNull": True}}],
                    "Next": "Rest",
                },
            ],
            "Default": "Rest",
        },
        "Rest": {"Type": "Wait", "Seconds": 10, "Next": "Look"},
        "Look": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Left", "States": {"Left": {**TASK, "End": True}}},
                {"StartAt": "Right", "States": {"Right": {"Type": "Pass", "Next": "Right's end"}, "Right's end": END}},
            ],
            "Next": "Ship",
        },
        "Ship": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemSelector": {"item.$": "$$.Map.Item.Value"},
            "MaxConcurrency": 4,
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "INLINE"},
                "StartAt": "Send",
                "States": {"Send": {**TASK, "Resource": "send:3"}},
            },
            "Next": "Done",
        },
        "Done": END,
        "Failed": {"Type": "Fail", "Error": "NoOrder", "CausePath": "$.error.Cause"},
    },
}


def parsed(*states: dict[str, Any], **more: Any) -> Definition:
    """The given states, A, B, C…; each leads to the next."""
    names = [chr(ord("A") + index) for index in range(len(states))]
    return definition.parse({"StartAt": "A", "States": dict(zip(names, states, strict=True)), **more})


def state_of(kind: str, **fields: Any) -> State:
    """One state with its machine around it."""
    written: dict[str, Any] = {"Type": kind, **fields}
    others: list[dict[str, Any]] = []
    if kind not in ("Choice", "Succeed", "Fail"):
        written.setdefault("End", True)
    if kind == "Task":
        written.setdefault("Resource", "work")
    if kind == "Parallel":
        written.setdefault("Branches", [{"StartAt": "X", "States": {"X": {"Type": "Succeed"}}}])
    if kind == "Map":
        written.setdefault("ItemProcessor", {"StartAt": "X", "States": {"X": {"Type": "Succeed"}}})
    if kind == "Choice" or "Catch" in fields:
        others.append({"Type": "Succeed"})
    return parsed(written, *others).states["A"]


def choice_of(*rules: dict[str, Any], **fields: Any) -> State:
    """A Choice whose rules all lead to B."""
    return state_of("Choice", Choices=[{"Next": "B", **rule} for rule in rules], **fields)


def problems_of(document: Any) -> dict[str, str]:
    with pytest.raises(DefinitionInvalid) as invalid:
        definition.parse(document)
    return {problem.path: problem.message for problem in invalid.value.problems}


def problems_with(*states: dict[str, Any], **more: Any) -> dict[str, str]:
    names = [chr(ord("A") + index) for index in range(len(states))]
    return problems_of({"StartAt": "A", "States": dict(zip(names, states, strict=True)), **more})


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")


OWN = {"States", "Parameters", "Result", "ResultSelector", "ItemSelector"}


def in_snake_case(value: Any, key: str = "") -> Any:
    """Written without knowledge of any field: what is the user's own stays."""
    if isinstance(value, list):
        return [in_snake_case(one) for one in value]
    if not isinstance(value, dict) or key in OWN - {"States"}:
        return value.lower() if key == "Type" else value
    return {name if key == "States" else _snake(name): in_snake_case(one, name) for name, one in value.items()}
