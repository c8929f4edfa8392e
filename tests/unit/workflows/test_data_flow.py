"""What goes into states and comes out of them: the specification's examples, and what fails."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.workflows.definitions import state_of
from workflows import data_flow
from workflows.states import DATA_LIMIT, INTRINSIC, PARAMETER_PATH, RESULT_PATH_MATCH, RUNTIME, Catcher, Failure

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CONTEXT: dict[str, Any] = {
    "Execution": {"Id": "e1", "Name": "n", "Input": {}, "StartTime": "2026-03-01T00:00:00Z"},
    "State": {"Name": "A", "EnteredTime": "2026-03-01T00:00:00Z", "RetryCount": 0},
    "DayOfWeek": "TUESDAY",
}
NUMBERS = {"title": "Numbers to add", "numbers": {"val1": 3, "val2": 4}}
SHIPMENT = {
    "ship-date": "2016-03-14T01:59:00Z",
    "detail": {"delivery-partner": "UQS", "shipped": [{"prod": "R31"}, {"prod": "S39"}]},
}


def failing(error: str) -> Any:
    return pytest.raises(Failure, check=lambda failure: failure.error == error)


@pytest.mark.parametrize(
    ("fields", "raw", "effective"),
    [
        ({}, NUMBERS, NUMBERS),
        ({"InputPath": "$.numbers"}, NUMBERS, {"val1": 3, "val2": 4}),
        ({"InputPath": None}, NUMBERS, {}),
        ({"InputPath": "$.a[0,1]"}, {"a": [1, 2, 3, 4]}, [1, 2]),
        ({"InputPath": "$$.DayOfWeek"}, NUMBERS, "TUESDAY"),
        ({"Parameters": {"first": 88, "second": 99}}, NUMBERS, {"first": 88, "second": 99}),
        ({"Parameters": {}}, NUMBERS, {}),
        (
            {
                "Parameters": {
                    "flagged": True,
                    "parts": {"first.$": "$.vals[0]", "last3.$": "$.vals[-3:]"},
                    "weekday.$": "$$.DayOfWeek",
                    "formattedOutput.$": "States.Format('Today is {}', $$.DayOfWeek)",
                }
            },
            {"flagged": 7, "vals": [0, 10, 20, 30, 40, 50]},
            {
                "flagged": True,
                "parts": {"first": 0, "last3": [30, 40, 50]},
                "weekday": "TUESDAY",
                "formattedOutput": "Today is TUESDAY",
            },
        ),
        (
            {"InputPath": "$.numbers", "Parameters": {"list": [{"a.$": "$.val1"}, ["$.val2"]], "$.x": "$.val2"}},
            NUMBERS,
            {"list": [{"a": 3}, ["$.val2"]], "$.x": "$.val2"},
        ),
    ],
)
def test_the_effective_input(fields: dict[str, Any], raw: Any, effective: Any) -> None:
    before = copy.deepcopy(raw)
    for kind in ("Task", "Pass", "Parallel"):
        assert data_flow.effective_input(state_of(kind, **fields), raw, CONTEXT) == effective
    assert raw == before


@pytest.mark.parametrize(
    ("fields", "raw", "result", "output"),
    [
        ({}, NUMBERS, 7, 7),
        ({"InputPath": "$.numbers", "ResultPath": "$.sum"}, NUMBERS, 7, {**NUMBERS, "sum": 7}),
        ({"ResultPath": None}, NUMBERS, 7, NUMBERS),
        ({"ResultPath": None}, "text", 7, "text"),
        ({"ResultPath": "$.b.greeting"}, {"a": 1}, "Hi!", {"a": 1, "b": {"greeting": "Hi!"}}),
        ({"OutputPath": "$.numbers", "ResultPath": "$.sum"}, NUMBERS, 7, {"val1": 3, "val2": 4}),
        ({"OutputPath": "$.r[0,1]", "ResultPath": "$.r"}, {}, [1, 2, 3], [1, 2]),
        ({"OutputPath": None}, NUMBERS, 7, {}),
        ({"OutputPath": "$$.DayOfWeek"}, NUMBERS, 7, "TUESDAY"),
        (
            {"ResultSelector": {"id.$": "$.Id", "day.$": "$$.DayOfWeek", "fix": 1}, "ResultPath": "$.r"},
            {"a": 1},
            {"Id": 5, "b": 2},
            {"a": 1, "r": {"id": 5, "day": "TUESDAY", "fix": 1}},
        ),
    ],
)
def test_the_output_of_states_with_a_result(fields: dict[str, Any], raw: Any, result: Any, output: Any) -> None:
    before = copy.deepcopy(raw)
    for kind in ("Task", "Parallel", "Map"):
        assert data_flow.output_of(state_of(kind, **fields), raw, result, CONTEXT) == output
    assert raw == before


@pytest.mark.parametrize(
    ("fields", "raw", "output"),
    [
        ({}, NUMBERS, NUMBERS),
        (
            {"Result": {"x-datum": 0.381018}, "ResultPath": "$.coords"},
            {"georefOf": "Home"},
            {"georefOf": "Home", "coords": {"x-datum": 0.381018}},
        ),
        ({"Result": None}, NUMBERS, None),
        ({"InputPath": "$.numbers", "ResultPath": "$.copy"}, NUMBERS, {**NUMBERS, "copy": NUMBERS["numbers"]}),
        ({"Parameters": {"t.$": "$.title"}}, NUMBERS, {"t": "Numbers to add"}),
        ({"Result": {"x.$": "$.title"}}, NUMBERS, {"x.$": "$.title"}),
    ],
)
def test_the_output_of_a_pass_is_its_own(fields: dict[str, Any], raw: Any, output: Any) -> None:
    assert data_flow.output_of(state_of("Pass", **fields), raw, "ignored", CONTEXT) == output


@pytest.mark.parametrize(
    "state",
    [
        state_of("Wait", Seconds=1, InputPath="$.a", OutputPath="$.b"),
        state_of("Succeed", InputPath="$.a", OutputPath="$.b"),
        state_of("Choice", Choices=[{"Variable": "$", "IsNull": True, "Next": "B"}], InputPath="$.a", OutputPath="$.b"),
    ],
    ids=["Wait", "Succeed", "Choice"],
)
def test_others_give_their_input(state: Any) -> None:
    assert data_flow.output_of(state, {"a": {"b": 1}}, "ignored", CONTEXT) == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"InputPath": "$.nowhere"}, PARAMETER_PATH),
        ({"Parameters": {"a": [{"b.$": "$.nowhere"}]}}, PARAMETER_PATH),
        ({"Parameters": {"a.$": "States.ArrayLength($)"}}, INTRINSIC),
        ({"OutputPath": "$.nowhere"}, PARAMETER_PATH),
        ({"ResultSelector": {"a.$": "$.nowhere"}}, PARAMETER_PATH),
        ({"ResultPath": "$.title.x"}, RESULT_PATH_MATCH),
    ],
)
def test_what_fails(fields: dict[str, Any], error: str) -> None:
    state = state_of("Task", **fields)
    with failing(error):
        data_flow.effective_input(state, NUMBERS, CONTEXT)
        data_flow.output_of(state, NUMBERS, {}, CONTEXT)


def test_a_result_that_does_not_fit_text() -> None:
    """§ "JSONPath Runtime Errors"."""
    with failing(RESULT_PATH_MATCH):
        data_flow.output_of(state_of("Task", ResultPath="$.x"), "foo", 1, CONTEXT)


def test_a_template_that_is_filled_with_too_much() -> None:
    state = state_of("Task", Parameters={f"{index}.$": "$" for index in range(1000)})
    with failing(DATA_LIMIT):
        data_flow.effective_input(state, ["x" * 100_000], CONTEXT)


def test_caught_errors() -> None:
    told = {"Error": "E", "Cause": "why"}
    names = ("States.ALL",)
    assert data_flow.caught(Catcher(error_equals=names, next="B"), NUMBERS, "E", "why") == told
    placed = Catcher(error_equals=names, next="B", result_path="$.error-info")
    assert data_flow.caught(placed, NUMBERS, "E", "why") == {**NUMBERS, "error-info": told}
    dropped = Catcher(error_equals=names, next="B", result_path=None)
    assert data_flow.caught(dropped, NUMBERS, "E", "why") is NUMBERS
    with failing(RESULT_PATH_MATCH):
        data_flow.caught(placed, "text", "E", "why")


@pytest.mark.parametrize(
    ("fields", "until"),
    [
        ({"Seconds": 10}, NOW + timedelta(seconds=10)),
        ({"Seconds": 0}, NOW),
        ({"SecondsPath": "$.sec"}, NOW + timedelta(seconds=90)),
        ({"Timestamp": "2016-03-14T01:59:00Z"}, datetime(2016, 3, 14, 1, 59, tzinfo=UTC)),
        ({"TimestampPath": "$.expirydate"}, datetime(2027, 3, 14, 1, 59, 0, 500_000, tzinfo=UTC)),
        ({"TimestampPath": "$$.Execution.StartTime"}, NOW),
    ],
)
def test_waits(fields: dict[str, Any], until: datetime) -> None:
    data = {"sec": 90.0, "expirydate": "2027-03-14T03:59:00.5+02:00"}
    assert data_flow.wait_until(state_of("Wait", **fields), data, CONTEXT, NOW) == until


@pytest.mark.parametrize("value", [-1, 1.5, True, "10", None, 1e300, 10**400, float("inf"), [], 100_000_000])
def test_no_seconds(value: Any) -> None:
    with failing(RUNTIME):
        data_flow.wait_until(state_of("Wait", SecondsPath="$.sec"), {"sec": value}, CONTEXT, NOW)


@pytest.mark.parametrize("value", [5, None, "tomorrow", "2027-03-14", "2027-03-14 01:59:00Z", "2027-02-30T01:59:00Z"])
def test_no_timestamp(value: Any) -> None:
    with failing(RUNTIME):
        data_flow.wait_until(state_of("Wait", TimestampPath="$.at"), {"at": value}, CONTEXT, NOW)


def test_timeouts() -> None:
    data = {"in": {"sec": 9}}
    assert data_flow.timeout_of(state_of("Task"), data, CONTEXT) is None
    assert data_flow.timeout_of(state_of("Task", TimeoutSeconds=3), data, CONTEXT) == 3
    state = state_of("Task", TimeoutSecondsPath="$.sec", InputPath="$.in", Parameters={})
    assert data_flow.timeout_of(state, data, CONTEXT) == 9
    for wrong in (0, -1, "9", True, None):
        with failing(RUNTIME):
            data_flow.timeout_of(state, {"in": {"sec": wrong}}, CONTEXT)


def test_a_map_of_the_specification() -> None:
    state = state_of("Map", InputPath="$.detail", ItemsPath="$.shipped", ResultPath="$.detail.shipped")
    items = data_flow.items_of(state, SHIPMENT, CONTEXT)
    assert items == SHIPMENT["detail"]["shipped"]  # type: ignore[index]
    assert data_flow.item_inputs(state, SHIPMENT, CONTEXT, items) == items
    output = data_flow.output_of(state, SHIPMENT, ["ok", "ok"], CONTEXT)
    assert output["detail"] == {"delivery-partner": "UQS", "shipped": ["ok", "ok"]}


@pytest.mark.parametrize("field", ["ItemSelector", "Parameters"])
def test_item_selectors(field: str) -> None:
    selector = {"parcel.$": "$$.Map.Item.Value", "n.$": "$$.Map.Item.Index", "courier.$": "$.delivery-partner"}
    state = state_of("Map", InputPath="$.detail", ItemsPath="$.shipped", **{field: selector})
    wanted = [{"parcel": {"prod": prod}, "n": n, "courier": "UQS"} for n, prod in enumerate(("R31", "S39"))]
    items = data_flow.items_of(state, SHIPMENT, CONTEXT)
    assert data_flow.item_inputs(state, SHIPMENT, CONTEXT, items) == wanted
    assert "Map" not in CONTEXT


def test_what_a_map_can_not_go_through() -> None:
    with failing(RUNTIME):
        data_flow.items_of(state_of("Map"), {"a": 1}, CONTEXT)
    with failing(PARAMETER_PATH):
        data_flow.items_of(state_of("Map", ItemsPath="$.a"), {}, CONTEXT)


def test_the_inputs_of_all_iterations_are_bounded_together() -> None:
    large = {"items": [1] * 1000, "x": ["y" * 100_000]}
    state = state_of("Map", ItemsPath="$.items", ItemSelector={"x.$": "$.x"})
    with failing(DATA_LIMIT):
        data_flow.item_inputs(state, large, CONTEXT, large["items"])
    state = state_of("Map", ItemsPath="$.items", ItemSelector={"x.$": "$..nowhere"})
    with failing(DATA_LIMIT):
        data_flow.item_inputs(state, large, CONTEXT, large["items"])


def test_concurrency() -> None:
    assert data_flow.concurrency_of(state_of("Map"), {}, CONTEXT) == 0
    assert data_flow.concurrency_of(state_of("Map", MaxConcurrency=3), {}, CONTEXT) == 3
    state = state_of("Map", MaxConcurrencyPath="$.n")
    assert data_flow.concurrency_of(state, {"n": 4}, CONTEXT) == 4
    with failing(RUNTIME):
        data_flow.concurrency_of(state, {"n": -1}, CONTEXT)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ("", "")),
        ({"Error": "ErrorA", "Cause": "Kaiju attack"}, ("ErrorA", "Kaiju attack")),
        ({"ErrorPath": "$.Error", "CausePath": "States.Format('{}!', $.Cause)"}, ("E", "C!")),
        ({"ErrorPath": "$$.State.Name"}, ("A", "")),
    ],
)
def test_what_a_fail_says(fields: dict[str, Any], told: tuple[str, str]) -> None:
    failure = data_flow.failure_of(state_of("Fail", **fields), {"Error": "E", "Cause": "C"}, CONTEXT)
    assert (failure.error, failure.cause) == told


def test_a_fail_that_can_not_be_told() -> None:
    for data in ({}, {"e": 5}, {"e": None}):
        with failing(RUNTIME):
            data_flow.failure_of(state_of("Fail", ErrorPath="$.e"), data, CONTEXT)


def test_random_parts_are_the_same_for_the_same_visit_only() -> None:
    state = state_of("Task", Parameters={"id.$": "States.UUID()"}, ResultSelector={"id.$": "States.UUID()"})
    again = {**CONTEXT, "State": {**CONTEXT["State"], "RetryCount": 1}}
    first = data_flow.effective_input(state, {}, CONTEXT)
    assert data_flow.effective_input(state, {}, CONTEXT) == first
    assert data_flow.effective_input(state, {}, again) != first
    assert data_flow.output_of(state, {}, {}, CONTEXT) != first
