"""What happens next? Decided here, on values alone; `advance.py` carries it out and keeps the books.

A state is *entered* with its input; its call, wait or branches come to an end; or it fails. Each of these has one
function here, and each answers with one of the values below. Nothing raises: what the specification calls an error goes
through the state's Retry and Catch, and comes out as `Retrying`, `Moved` or `Broken`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from workflows import choices, data_flow, retry_policy
from workflows.states import BRANCH_FAILED, DATA_LIMIT, RUNTIME, Failure, Resource, State, StateType

MAX_BRANCHES = 10_000
"""Of one Map."""
MAP_AT_ONCE = 40
"""Items of a Map that run at once where it does not say how many, and at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One visit of a state: what decisions are made on."""

    state: State
    input: Any
    """The state's raw input."""
    context: Mapping[str, Any]
    """The specification's context object."""
    tried: tuple[int, ...] = ()
    """How often each of the state's retriers was used."""
    jitter: float = 0.0
    """In [0, 1)."""
    source: random.Random | None = None
    """What the definition's own random numbers and UUIDs are drawn from."""
    max_bytes: int
    """Of what a state may make, as JSON text."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The state is done. Without `next` it was the last of its machine."""

    output: bytes
    next: str
    caught: Failure | None = None


@dataclass(frozen=True, slots=True)
class Call:
    resource: Resource
    event: bytes
    timeout_sec: int | None


@dataclass(frozen=True, slots=True)
class Sleep:
    until: datetime


@dataclass(frozen=True, slots=True)
class Branch:
    start_at: str
    input: bytes


@dataclass(frozen=True, slots=True)
class Fork:
    branches: tuple[Branch, ...]
    at_once: int


@dataclass(frozen=True, slots=True)
class Retrying:
    delay_sec: float
    tried: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """The state failed, and with it its machine."""

    failure: Failure


Effect = Moved | Call | Sleep | Fork | Retrying | Broken


def enter(visit: Visit, now: datetime) -> Effect:
    """The state begins, or begins again after a failure."""
    try:
        return _entered(visit, now)
    except Failure as failure:
        return failed(visit, failure)


def called(visit: Visit, result: bytes, version: int) -> Effect:
    """A Task's call has succeeded: its result as JSON text."""
    try:
        value = _value(result)
        if visit.state.resource is not None and visit.state.resource.is_lambda_invoke:
            value = {"ExecutedVersion": str(version), "Payload": value, "StatusCode": 200}
        return _done(visit, value)
    except Failure as failure:
        return failed(visit, failure)


def waited(visit: Visit) -> Effect:
    """A Wait is over."""
    try:
        return _done(visit, _effective(visit))
    except Failure as failure:
        return failed(visit, failure)


def joined(visit: Visit, outputs: Sequence[bytes]) -> Effect:
    """All branches have ended: what each has made, in their order."""
    try:
        if sum(map(len, outputs)) > visit.max_bytes:
            raise _too_large(visit)
        return _done(visit, [_value(output) for output in outputs])
    except Failure as failure:
        return failed(visit, failure)


def failed(visit: Visit, failure: Failure) -> Effect:
    """A call, a branch or the state itself has failed."""
    after = retry_policy.after(visit.state, failure.error, visit.tried, visit.jitter)
    if isinstance(after, retry_policy.GivenUp) and visit.state.type is StateType.PARALLEL:
        # § "Errors": a branch that fails is also a BranchFailed.
        after = retry_policy.after(visit.state, BRANCH_FAILED, visit.tried, visit.jitter)
    match after:
        case retry_policy.Again(delay_sec, number):
            tried = list(visit.tried) + [0] * (len(visit.state.retry) - len(visit.tried))
            tried[number] += 1
            return Retrying(delay_sec, tuple(tried))
        case retry_policy.Caught(catcher):
            try:
                output = data_flow.caught(catcher, visit.input, failure.error, failure.cause)
                return Moved(_text(visit, output), catcher.next, failure)
            except Failure as worse:
                return Broken(worse)
    return Broken(failure)


def _entered(visit: Visit, now: datetime) -> Effect:
    state = visit.state
    match state.type:
        case StateType.TASK:
            return _call(visit)
        case StateType.PARALLEL:
            text = _text(visit, _effective(visit))
            branches = tuple(Branch(start, text) for start in state.branches)
            return Fork(branches, len(branches))
        case StateType.MAP:
            return _map(visit)
        case StateType.WAIT:
            until = data_flow.wait_until(state, _effective(visit), visit.context, now)
            return Sleep(until) if until > now else waited(visit)
        case StateType.CHOICE:
            effective = _effective(visit)
            output = data_flow.output_of(state, visit.input, effective, visit.context)
            return Moved(_text(visit, output), choices.chosen(state, effective, visit.context))
        case StateType.FAIL:
            return Broken(data_flow.failure_of(state, visit.input, visit.context))
    return _done(visit, _effective(visit))


def _call(visit: Visit) -> Call:
    state, event = visit.state, _effective(visit)
    assert state.resource is not None, "a Task has one"
    timeout_sec = data_flow.timeout_of(state, visit.input, visit.context)
    if not state.resource.is_lambda_invoke:
        return Call(state.resource, _text(visit, event), timeout_sec)
    if not isinstance(event, dict) or not isinstance(event.get("FunctionName"), str):
        raise Failure(RUNTIME, f"{state.name}: the Parameters must have a FunctionName.")
    name, _, qualifier = event["FunctionName"].rpartition(":function:")[2].partition(":")
    resource = Resource(name, str(event.get("Qualifier") or qualifier), is_lambda_invoke=True)
    return Call(resource, _text(visit, event.get("Payload", {})), timeout_sec)


def _map(visit: Visit) -> Effect:
    state = visit.state
    items = data_flow.items_of(state, visit.input, visit.context)
    if len(items) > MAX_BRANCHES:
        raise Failure(RUNTIME, f"{state.name}: {len(items)} items; at most {MAX_BRANCHES} are possible.")
    if not items:
        return _done(visit, [])
    made = data_flow.item_inputs(state, visit.input, visit.context, items, visit.source)
    branches = tuple(Branch(state.branches[0], _text(visit, one)) for one in made)
    if sum(len(branch.input) for branch in branches) > visit.max_bytes * MAP_AT_ONCE:
        raise _too_large(visit)
    wanted = data_flow.concurrency_of(state, visit.input, visit.context)
    return Fork(branches, min(wanted or MAP_AT_ONCE, MAP_AT_ONCE))


def _effective(visit: Visit) -> Any:
    return data_flow.effective_input(visit.state, visit.input, visit.context, visit.source)


def _done(visit: Visit, result: Any) -> Moved:
    output = data_flow.output_of(visit.state, visit.input, result, visit.context, visit.source)
    return Moved(_text(visit, output), visit.state.next)


def _text(visit: Visit, value: Any) -> bytes:
    """As it is stored. Raises Failure for what is too large or no JSON that could be stored."""
    try:
        text = orjson.dumps(value)
    except (TypeError, RecursionError) as error:
        raise Failure(RUNTIME, f"{visit.state.name}: what it made can't be written as JSON.") from error
    if len(text) > visit.max_bytes:
        raise _too_large(visit)
    return text


def _too_large(visit: Visit) -> Failure:
    return Failure(DATA_LIMIT, f"{visit.state.name}: its data is larger than {visit.max_bytes} bytes.")


def _value(text: bytes) -> Any:
    """Raises Failure: a function may answer with text that is no Unicode."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Failure(RUNTIME, "The result is not JSON that could be read.") from error
