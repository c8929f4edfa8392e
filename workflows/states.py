"""A workflow's definition as the engine reads it: checked, in one spelling. Plain values; `definition.py` makes them.

The language is Amazon States Language (https://states-language.net/spec.html) with JSONPath as its query language. What
a field means is said there; fields have the specification's names in snake_case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class StateType(StrEnum):
    TASK = "Task"
    PASS = "Pass"
    CHOICE = "Choice"
    WAIT = "Wait"
    PARALLEL = "Parallel"
    MAP = "Map"
    SUCCEED = "Succeed"
    FAIL = "Fail"


class Absent:
    """Of a field for which null is a value of its own."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Resource:
    """What a Task calls: ``name``, ``name:alias`` or ``name:version``."""

    function: str
    """Empty where `arn:aws:states:::lambda:invoke` takes it from `Parameters` when it is called."""
    qualifier: str = ""
    """An alias or a version's number."""
    is_lambda_invoke: bool = False
    """`Parameters` are the call itself (`FunctionName`, `Payload`, `Qualifier`); the result comes in an envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrier:
    """§ "Retry": one of a state's rules, with the specification's defaults filled in."""

    error_equals: tuple[str, ...]
    interval_sec: float = 1.0
    max_attempts: int = 3
    backoff_rate: float = 2.0
    max_delay_sec: float | None = None
    has_full_jitter: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Catcher:
    """§ "Catch"."""

    error_equals: tuple[str, ...]
    next: str
    result_path: str | None = "$"
    """None: the error is dropped, the state's input goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A Choice's rule: the test as it is written (without `Next`), and where to go."""

    test: Mapping[str, Any]
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One state; what its type does not have is at its default. Paths are text: compiled once, by `paths.py`."""

    name: str
    type: StateType
    next: str = ""
    """Empty: it ends its machine (`End`, Succeed, Fail), or is a Choice."""

    input_path: str | None = "$"
    output_path: str | None = "$"
    parameters: Any = ABSENT
    """Of Map: the old spelling of `item_selector` is moved there."""
    result_selector: Any = ABSENT
    result_path: str | None = "$"
    retry: tuple[Retrier, ...] = ()
    catch: tuple[Catcher, ...] = ()

    resource: Resource | None = None
    """Task."""
    timeout_sec: int | None = None
    timeout_sec_path: str = ""
    result: Any = ABSENT
    """Pass."""
    rules: tuple[Rule, ...] = ()
    """Choice."""
    default: str = ""
    seconds: float | None = None
    """Wait: one of these four."""
    seconds_path: str = ""
    timestamp: str = ""
    timestamp_path: str = ""
    branches: tuple[str, ...] = ()
    """Parallel: the first state of each branch. Map: of its one processor."""
    items_path: str = "$"
    """Map."""
    item_selector: Any = ABSENT
    max_concurrency: int = 0
    """0: as many as the platform lets."""
    max_concurrency_path: str = ""
    error: str = ""
    """Fail."""
    error_path: str = ""
    cause: str = ""
    cause_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A whole definition. Names of states are unique in all of it (§ "States"), those of branches too: one table."""

    start_at: str
    states: Mapping[str, State]
    timeout_sec: int | None = None
    comment: str = ""
    document: Mapping[str, Any] = field(repr=False)
    """As it is stored and shown: the specification's spelling, nothing filled in."""


class Failure(Exception):
    """A state fails: a name of the specification's table of errors, or the function's own, and why. It is a value of
    the engine, caught there; nothing is logged."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


ALL = "States.ALL"
TASK_FAILED = "States.TaskFailed"
TIMEOUT = "States.Timeout"
RUNTIME = "States.Runtime"
"""Can't be caught, as `DATA_LIMIT` can't by `ALL`."""
DATA_LIMIT = "States.DataLimitExceeded"
PERMISSIONS = "States.Permissions"
PARAMETER_PATH = "States.ParameterPathFailure"
RESULT_PATH_MATCH = "States.ResultPathMatchFailure"
NO_CHOICE = "States.NoChoiceMatched"
BRANCH_FAILED = "States.BranchFailed"
INTRINSIC = "States.IntrinsicFailure"
