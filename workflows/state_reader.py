"""Reads one state of a definition in the specification's spelling. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from workflows import choice_rules, error_rules, resources, timestamps
from workflows.data_flow import MAX_SECONDS
from workflows.fields import Fields
from workflows.problems import Problems, shown
from workflows.spelling import STATE_FIELDS
from workflows.states import ABSENT, State, StateType

MAX_CONCURRENCY: Final = 10_000
JSONPATH: Final = "JSONPath"


def read(name: str, value: Any, path: str, problems: Problems) -> State | None:
    """Without what is inside Branches and ItemProcessor. None where not even its type is known."""
    if not isinstance(value, dict):
        problems.add(path, "has to be an object: a state")
        return None
    kind = value.get("Type")
    if not isinstance(kind, str) or kind not in STATE_FIELDS:
        types = ", ".join(STATE_FIELDS)
        written = f", not {shown(kind)}" if isinstance(kind, str) else ""
        problems.add(f"{path}.Type", f"has to be one of {types}{written}")
        return None
    type = StateType(kind)
    article = "an" if type.value[0] in "AEIOU" else "a"
    fields = Fields(value, path, STATE_FIELDS[type], f"{article} {type.value} state", problems)
    fields.text("Comment")
    check_query_language(fields)
    return _READERS[type](_common(name, type, fields, problems), fields, problems)


def check_query_language(fields: Fields) -> None:
    language = fields.text("QueryLanguage", JSONPATH)
    if language != JSONPATH:
        fields.wrong("QueryLanguage", f"{shown(language)} is not supported: Nimbus speaks {JSONPATH}")


def _common(name: str, type: StateType, fields: Fields, problems: Problems) -> State:
    """What states of several types have: a field that is not of this type is missing, or a problem by now."""
    state = State(
        name=name,
        type=type,
        input_path=fields.nullable_path("InputPath"),
        output_path=fields.nullable_path("OutputPath"),
        result_selector=fields.template("ResultSelector"),
        result_path=fields.nullable_place("ResultPath"),
        retry=error_rules.retriers(fields, problems),
        catch=error_rules.catchers(fields, problems),
    )
    if "Next" in STATE_FIELDS[type]:
        state = replace(state, next=_next(fields))
    if "Parameters" in STATE_FIELDS[type] and type is not StateType.MAP:
        state = replace(state, parameters=fields.template("Parameters"))
    return state


def _next(fields: Fields) -> str:
    end = fields.get("End")
    if not isinstance(end, bool) and end is not ABSENT:
        fields.wrong("End", "has to be true or false")
    if end is True and "Next" in fields:
        fields.wrong("Next", "may not be there together with End")
    elif end in (False, ABSENT) and "Next" not in fields:
        fields.wrong("", 'has to say where it goes: "Next", or "End": true')
    return fields.name_of_state("Next")


def _task(state: State, fields: Fields, problems: Problems) -> State:
    fields.at_most_one("TimeoutSeconds", "TimeoutSecondsPath")
    return replace(
        state,
        resource=resources.read(fields, problems),
        timeout_sec=fields.whole("TimeoutSeconds", 1, MAX_SECONDS),
        timeout_sec_path=fields.reference_path("TimeoutSecondsPath"),
    )


def _pass(state: State, fields: Fields, _: Problems) -> State:
    return replace(state, result=fields.get("Result"))


def _choice(state: State, fields: Fields, problems: Problems) -> State:
    return replace(state, rules=choice_rules.rules(fields, problems), default=fields.name_of_state("Default"))


def _wait(state: State, fields: Fields, _: Problems) -> State:
    fields.exactly_one("Seconds", "SecondsPath", "Timestamp", "TimestampPath")
    timestamp = fields.text("Timestamp")
    if isinstance(fields.get("Timestamp"), str) and timestamps.parse(timestamp) is None:
        fields.wrong("Timestamp", "has to be a timestamp such as 2026-03-14T01:59:00Z")
    return replace(
        state,
        seconds=fields.number("Seconds", 0, MAX_SECONDS),
        seconds_path=fields.reference_path("SecondsPath"),
        timestamp=timestamp,
        timestamp_path=fields.reference_path("TimestampPath"),
    )


def _parallel(state: State, fields: Fields, _: Problems) -> State:
    fields.need("Branches")
    for _one in fields.elements("Branches", least=1):
        """Read by `definition.py`."""
    return state


def _map(state: State, fields: Fields, _: Problems) -> State:
    fields.exactly_one("ItemProcessor", "Iterator")
    fields.at_most_one("ItemSelector", "Parameters")
    fields.at_most_one("MaxConcurrency", "MaxConcurrencyPath")
    return replace(
        state,
        items_path=fields.reference_path("ItemsPath") or "$",
        item_selector=fields.template("ItemSelector" if "ItemSelector" in fields else "Parameters"),
        max_concurrency=fields.whole("MaxConcurrency", 0, MAX_CONCURRENCY) or 0,
        max_concurrency_path=fields.reference_path("MaxConcurrencyPath"),
    )


def _succeed(state: State, _: Fields, __: Problems) -> State:
    return state


def _fail(state: State, fields: Fields, _: Problems) -> State:
    fields.at_most_one("Error", "ErrorPath")
    fields.at_most_one("Cause", "CausePath")
    return replace(
        state,
        error=fields.text("Error"),
        error_path=fields.path_or_intrinsic("ErrorPath"),
        cause=fields.text("Cause"),
        cause_path=fields.path_or_intrinsic("CausePath"),
    )


_READERS: Final[Mapping[StateType, Callable[[State, Fields, Problems], State]]] = {
    StateType.TASK: _task,
    StateType.PASS: _pass,
    StateType.CHOICE: _choice,
    StateType.WAIT: _wait,
    StateType.PARALLEL: _parallel,
    StateType.MAP: _map,
    StateType.SUCCEED: _succeed,
    StateType.FAIL: _fail,
}
