"""What goes into a state and what comes out of it (§ "Input and Output Processing"). Pure.

All of it raises `Failure` for what the specification calls an error at run time. `context` is the specification's
context object, which `$$` paths read. Values that are handed in are never changed; results may share parts with them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from workflows import intrinsics, paths, timestamps
from workflows.choices import is_number
from workflows.states import ABSENT, RUNTIME, Catcher, Failure, State, StateType
from workflows.templates import filled

Context = Mapping[str, Any]

MAX_SECONDS: Final = 99_999_999


def effective_input(state: State, raw_input: Any, context: Context, source: random.Random | None = None) -> Any:
    """InputPath, then Parameters. `source` is what `States.UUID` and `States.MathRandom` draw from; without one, they
    come from the context: the same each time that this visit of the state is looked at."""
    selected = _selected(state.input_path, raw_input, context)
    if state.parameters is ABSENT:
        return selected
    return filled(state.parameters, selected, context, source or _source(context, "Parameters"))


def output_of(state: State, raw_input: Any, result: Any, context: Context, source: random.Random | None = None) -> Any:
    """ResultSelector, ResultPath, OutputPath. A Pass makes its own result; Wait, Choice and Succeed have none."""
    if state.type is StateType.PASS:
        result = effective_input(state, raw_input, context, source) if state.result is ABSENT else state.result
    elif state.type in (StateType.WAIT, StateType.CHOICE, StateType.SUCCEED):
        return _selected(state.output_path, effective_input(state, raw_input, context), context)
    elif state.result_selector is not ABSENT:
        result = filled(state.result_selector, result, context, source or _source(context, "ResultSelector"))
    return _selected(state.output_path, _placed(state.result_path, raw_input, result), context)


def caught(catcher: Catcher, raw_input: Any, error: str, cause: str) -> Any:
    """The input of the catcher's next state."""
    return _placed(catcher.result_path, raw_input, {"Error": error, "Cause": cause})


def wait_until(state: State, effective_input: Any, context: Context, now: datetime) -> datetime:
    """When a Wait is over; in the past, where its timestamp is."""
    if state.timestamp or state.timestamp_path:
        return _moment(state.timestamp or paths.read(state.timestamp_path, effective_input, context, error=RUNTIME))
    seconds = state.seconds
    if seconds is None:
        seconds = _whole("SecondsPath", state.seconds_path, effective_input, context, least=0)
    return now + timedelta(seconds=seconds)


def timeout_of(state: State, raw_input: Any, context: Context) -> int | None:
    """TimeoutSeconds of a Task, or what TimeoutSecondsPath leads to."""
    if not state.timeout_sec_path:
        return state.timeout_sec
    selected = _selected(state.input_path, raw_input, context)
    return _whole("TimeoutSecondsPath", state.timeout_sec_path, selected, context, least=1)


def concurrency_of(state: State, raw_input: Any, context: Context) -> int:
    """MaxConcurrency of a Map, or what MaxConcurrencyPath leads to; 0 is no limit."""
    if not state.max_concurrency_path:
        return state.max_concurrency
    selected = _selected(state.input_path, raw_input, context)
    return _whole("MaxConcurrencyPath", state.max_concurrency_path, selected, context, least=0)


def items_of(state: State, raw_input: Any, context: Context) -> list[Any]:
    """What a Map goes through."""
    items = paths.read(state.items_path, _selected(state.input_path, raw_input, context), context)
    if not isinstance(items, list):
        raise Failure(RUNTIME, f"ItemsPath '{state.items_path}' has to lead to an array")
    return items


def item_input(
    state: State, raw_input: Any, context: Context, index: int, value: Any, source: random.Random | None = None
) -> Any:
    """The input of one iteration: the element, or what ItemSelector makes of it and of the Map's input."""
    if state.item_selector is ABSENT:
        return value
    context = {**context, "Map": {"Item": {"Index": index, "Value": value}}}
    selected = _selected(state.input_path, raw_input, context)
    return filled(state.item_selector, selected, context, source or _source(context, "ItemSelector"))


def failure_of(state: State, raw_input: Any, context: Context) -> Failure:
    """What a Fail says."""
    error = _told("ErrorPath", state.error_path, raw_input, context) if state.error_path else state.error
    cause = _told("CausePath", state.cause_path, raw_input, context) if state.cause_path else state.cause
    return Failure(error, cause)


def _selected(path: str | None, value: Any, context: Context) -> Any:
    if path == "$":
        return value
    return {} if path is None else paths.read(path, value, context)


def _placed(path: str | None, raw_input: Any, result: Any) -> Any:
    return raw_input if path is None else paths.put(path, raw_input, result)


def _whole(name: str, path: str, data: Any, context: Context, *, least: int) -> int:
    value = paths.read(path, data, context, error=RUNTIME)
    if is_number(value) and math.isfinite(value) and value == int(value) and least <= value <= MAX_SECONDS:
        return int(value)
    raise Failure(RUNTIME, f"{name} '{path}' has to lead to an integer from {least} to {MAX_SECONDS:,}")


def _moment(text: Any) -> datetime:
    moment = timestamps.parse(text) if isinstance(text, str) else None
    if moment is None:
        raise Failure(RUNTIME, "TimestampPath has to lead to a timestamp such as 2026-03-14T01:59:00Z")
    return moment


def _told(name: str, path: str, data: Any, context: Context) -> str:
    if path.startswith("$"):
        told = paths.read(path, data, context, error=RUNTIME)
    else:
        told = intrinsics.evaluate(path, data, context, _source(context, name))
    if not isinstance(told, str):
        raise Failure(RUNTIME, f"{name} '{path[:80]}' has to lead to a string")
    return told


def _source(context: Context, field: str) -> random.Random:
    """The same for the same visit of a state: whoever advances it again gets what was got before."""
    item = context.get("Map", {}).get("Item", {}).get("Index")
    visit = [context.get("Execution", {}).get("Id"), sorted(context.get("State", {}).items()), item, field]
    return random.Random(repr(visit))
