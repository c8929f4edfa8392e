"""What goes into a state and what comes out of it (§ "Input and Output Processing"). Pure.

All of it raises `Failure` for what the specification calls an error at run time. `context` is the specification's
context object, which `$$` paths read; `source` is what `States.UUID` and `States.MathRandom` draw from (without
one: the context, so the same for the same visit of a state). Values that are handed in are never changed; results may
share parts with them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from workflows import intrinsics, paths, timestamps
from workflows.choices import is_number
from workflows.scope import Allowance, Scope
from workflows.states import ABSENT, RUNTIME, Catcher, Failure, State, StateType
from workflows.templates import filled

Context = Mapping[str, Any]

MAX_SECONDS: Final = 99_999_999
"""Of any wait or timeout: about three years."""
MAX_ITEMS_BYTES: Final = 64 * 1024 * 1024
"""Of what ItemSelectors put into the inputs of all of a Map's iterations."""


def effective_input(state: State, raw_input: Any, context: Context, source: random.Random | None = None) -> Any:
    """InputPath, then Parameters."""
    selected = _selected(state.input_path, raw_input, context)
    if state.parameters is ABSENT:
        return selected
    return filled(state.parameters, Scope(selected, context, "Parameters", source))


def output_of(state: State, raw_input: Any, result: Any, context: Context, source: random.Random | None = None) -> Any:
    """ResultSelector, ResultPath, OutputPath. A Pass makes its own result; Wait, Choice and Succeed have none."""
    if state.type in (StateType.WAIT, StateType.CHOICE, StateType.SUCCEED):
        return _selected(state.output_path, effective_input(state, raw_input, context), context)
    if state.type is StateType.PASS:
        result = effective_input(state, raw_input, context, source) if state.result is ABSENT else state.result
    elif state.result_selector is not ABSENT:
        result = filled(state.result_selector, Scope(result, context, "ResultSelector", source))
    return _selected(state.output_path, _placed(state.result_path, raw_input, result), context)


def caught(catcher: Catcher, raw_input: Any, error: str, cause: str) -> Any:
    """The input of the catcher's next state."""
    return _placed(catcher.result_path, raw_input, {"Error": error, "Cause": cause})


def wait_until(state: State, effective_input: Any, context: Context, now: datetime) -> datetime:
    """When a Wait is over; in the past, where its timestamp is."""
    scope = Scope(effective_input, context)
    if state.timestamp or state.timestamp_path:
        return _moment(state.timestamp or paths.read(state.timestamp_path, scope, error=RUNTIME))
    seconds = state.seconds
    if seconds is None:
        seconds = _whole("SecondsPath", state.seconds_path, scope, least=0)
    return now + timedelta(seconds=seconds)


def timeout_of(state: State, raw_input: Any, context: Context) -> int | None:
    """TimeoutSeconds of a Task, or what TimeoutSecondsPath leads to."""
    if not state.timeout_sec_path:
        return state.timeout_sec
    scope = Scope(_selected(state.input_path, raw_input, context), context)
    return _whole("TimeoutSecondsPath", state.timeout_sec_path, scope, least=1)


def concurrency_of(state: State, raw_input: Any, context: Context) -> int:
    """MaxConcurrency of a Map, or what MaxConcurrencyPath leads to; 0 is no limit."""
    if not state.max_concurrency_path:
        return state.max_concurrency
    scope = Scope(_selected(state.input_path, raw_input, context), context)
    return _whole("MaxConcurrencyPath", state.max_concurrency_path, scope, least=0)


def items_of(state: State, raw_input: Any, context: Context) -> list[Any]:
    """What a Map goes through."""
    items = paths.read(state.items_path, Scope(_selected(state.input_path, raw_input, context), context))
    if not isinstance(items, list):
        raise Failure(RUNTIME, f"ItemsPath '{state.items_path}' has to lead to an array")
    return items


def item_inputs(
    state: State, raw_input: Any, context: Context, items: Sequence[Any], source: random.Random | None = None
) -> list[Any]:
    """The inputs of all iterations: the element, or what ItemSelector makes of it and of the Map's input. What they
    may look at is bounded for all together."""
    if state.item_selector is ABSENT:
        return list(items)
    scope = Scope(_selected(state.input_path, raw_input, context), context, "ItemSelector", source)
    scope.payload = Allowance(MAX_ITEMS_BYTES, "The inputs of a Map's iterations have")
    return [_item(scope, state, index, value) for index, value in enumerate(items)]


def _item(scope: Scope, state: State, index: int, value: Any) -> Any:
    context = {**scope.context, "Map": {"Item": {"Index": index, "Value": value}}}
    return filled(state.item_selector, Scope(scope.data, context, scope.field, scope.source, scope.work, scope.payload))


def failure_of(state: State, raw_input: Any, context: Context) -> Failure:
    """What a Fail says."""
    error = _told("ErrorPath", state.error_path, raw_input, context) if state.error_path else state.error
    cause = _told("CausePath", state.cause_path, raw_input, context) if state.cause_path else state.cause
    return Failure(error, cause)


def _selected(path: str | None, value: Any, context: Context) -> Any:
    if path == "$":
        return value
    return {} if path is None else paths.read(path, Scope(value, context))


def _placed(path: str | None, raw_input: Any, result: Any) -> Any:
    return raw_input if path is None else paths.put(path, raw_input, result)


def _whole(name: str, path: str, scope: Scope, *, least: int) -> int:
    value = paths.read(path, scope, error=RUNTIME)
    if is_number(value) and least <= value <= MAX_SECONDS and value == int(value):
        return int(value)
    raise Failure(RUNTIME, f"{name} '{path}' has to lead to an integer from {least} to {MAX_SECONDS:,}")


def _moment(text: Any) -> datetime:
    moment = timestamps.parse(text) if isinstance(text, str) else None
    if moment is None:
        raise Failure(RUNTIME, "TimestampPath has to lead to a timestamp such as 2026-03-14T01:59:00Z")
    return moment


def _told(name: str, path: str, data: Any, context: Context) -> str:
    scope = Scope(data, context, name)
    told = paths.read(path, scope, error=RUNTIME) if path.startswith("$") else intrinsics.evaluate(path, scope)
    if not isinstance(told, str):
        raise Failure(RUNTIME, f"{name} '{path[:80]}' has to lead to a string")
    return told
