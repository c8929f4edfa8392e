"""The two spellings of a definition: the specification's (`StartAt`) and the older one (`start_at`). Pure.

Fields are turned into the specification's spelling where they are known; what else is there stays as it is, and the
reader of the fields says that it does not belong there. What is the user's own is never turned: names of states,
everything inside `Parameters`, `Result`, `ResultSelector`, `ItemSelector`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from workflows.choices import OPERATORS
from workflows.problems import Problems
from workflows.states import StateType

MACHINE_FIELDS: Final = frozenset({"StartAt", "States", "Comment"})
TOP_FIELDS: Final = MACHINE_FIELDS | {"TimeoutSeconds", "Version", "QueryLanguage"}
PROCESSOR_FIELDS: Final = MACHINE_FIELDS | {"ProcessorConfig"}
PROCESSOR_CONFIG_FIELDS: Final = frozenset({"Mode", "ExecutionType"})
RETRIER_FIELDS: Final = frozenset(
    {"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy", "Comment"}
)
CATCHER_FIELDS: Final = frozenset({"ErrorEquals", "Next", "ResultPath", "Comment"})
BOOLEAN_FIELDS: Final = frozenset({"And", "Or", "Not"})
RULE_FIELDS: Final = frozenset({"Variable", "Next", "Comment"}) | BOOLEAN_FIELDS | OPERATORS

_ALWAYS = frozenset({"Type", "Comment", "QueryLanguage"})
_ENDING = frozenset({"Next", "End"})
_PATHS = frozenset({"InputPath", "OutputPath"})
_RESULT = frozenset({"Parameters", "ResultPath"})
_WORK = _ALWAYS | _ENDING | _PATHS | _RESULT | {"ResultSelector", "Retry", "Catch"}

STATE_FIELDS: Final[Mapping[StateType, frozenset[str]]] = {
    StateType.TASK: _WORK | {"Resource", "TimeoutSeconds", "TimeoutSecondsPath"},
    StateType.PASS: _ALWAYS | _ENDING | _PATHS | _RESULT | {"Result"},
    StateType.CHOICE: _ALWAYS | _PATHS | {"Choices", "Default"},
    StateType.WAIT: _ALWAYS | _ENDING | _PATHS | {"Seconds", "SecondsPath", "Timestamp", "TimestampPath"},
    StateType.PARALLEL: _WORK | {"Branches"},
    StateType.MAP: _WORK
    | {"ItemProcessor", "Iterator", "ItemsPath", "ItemSelector", "MaxConcurrency", "MaxConcurrencyPath"},
    StateType.SUCCEED: _ALWAYS | _PATHS,
    StateType.FAIL: _ALWAYS | {"Error", "ErrorPath", "Cause", "CausePath"},
}

_OF_JSONATA: Final = "belongs to the query language JSONata; Nimbus speaks JSONPath"
_OF_DISTRIBUTED: Final = (
    "is not supported: one iteration that fails is the Map's failure, unless a Catch inside it takes it"
)
REFUSED_FIELDS: Final[Mapping[str, str]] = {
    "HeartbeatSeconds": "is not supported: a function has no way to send a heartbeat. TimeoutSeconds bounds a Task",
    "HeartbeatSecondsPath": "is not supported: a function has no way to send a heartbeat",
    "ItemReader": "is not supported: a Map goes through an array of its input, which ItemsPath names",
    "ItemBatcher": "is not supported: a Map's iterations get one element each",
    "ResultWriter": "is not supported: a Map's result is the array of its iterations' outputs",
    "Label": "is not supported: it belongs to distributed Maps",
    "ToleratedFailureCount": _OF_DISTRIBUTED,
    "ToleratedFailureCountPath": _OF_DISTRIBUTED,
    "ToleratedFailurePercentage": _OF_DISTRIBUTED,
    "ToleratedFailurePercentagePath": _OF_DISTRIBUTED,
    "Credentials": "is not supported: a workflow's functions run in the name of its owner",
    "Assign": "is not supported: there are no variables, ResultPath keeps what later states need",
    "Arguments": _OF_JSONATA,
    "Output": _OF_JSONATA,
    "Items": _OF_JSONATA,
    "Condition": _OF_JSONATA,
}
"""Fields of the language that Nimbus does not have, and why: better than "unknown"."""


def snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _spellings(names: Iterable[str], **also: str) -> Mapping[str, str]:
    return {**{snake_case(name): name for name in names}, **also}


_TOP: Final = _spellings(TOP_FIELDS)
_PROCESSOR: Final = _spellings(PROCESSOR_FIELDS)
_PROCESSOR_CONFIG: Final = _spellings(PROCESSOR_CONFIG_FIELDS)
_STATE: Final = _spellings(frozenset().union(*STATE_FIELDS.values(), REFUSED_FIELDS), function_id="Resource")
_RETRIER: Final = _spellings(RETRIER_FIELDS)
_CATCHER: Final = _spellings(CATCHER_FIELDS)
_RULE: Final = _spellings(RULE_FIELDS)
_TYPES: Final = {type.value.lower(): type.value for type in StateType}


def in_one_spelling(document: Any, problems: Problems) -> Any:
    """The same in the specification's spelling. A field that is there in both is a problem."""
    return _Speller(problems).top(document)


class _Speller:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def top(self, document: Any) -> Any:
        return self._machine(document, "", _TOP)

    def _machine(self, machine: Any, path: str, known: Mapping[str, str] = _PROCESSOR) -> Any:
        if not isinstance(machine, dict):
            return machine
        fields = self._fields(machine, path, known)
        states = fields.get("States")
        if isinstance(states, dict):
            fields["States"] = {name: self._state(one, f"{path}.States.{name}") for name, one in states.items()}
        if "ProcessorConfig" in fields:
            config = f"{path}.ProcessorConfig"
            fields["ProcessorConfig"] = self._fields(fields["ProcessorConfig"], config, _PROCESSOR_CONFIG)
        return fields

    def _state(self, state: Any, path: str) -> Any:
        if not isinstance(state, dict):
            return state
        fields = self._fields(state, path, _STATE)
        kind = fields.get("Type")
        if isinstance(kind, str):
            fields["Type"] = _TYPES.get(kind.lower(), kind)
        for name in ("ItemProcessor", "Iterator"):
            if name in fields:
                fields[name] = self._machine(fields[name], f"{path}.{name}")
        self._each(fields, "Branches", path, self._machine)
        self._each(fields, "Choices", path, self._rule)
        self._each(fields, "Retry", path, lambda one, at: self._fields(one, at, _RETRIER))
        self._each(fields, "Catch", path, lambda one, at: self._fields(one, at, _CATCHER))
        return fields

    def _rule(self, rule: Any, path: str) -> Any:
        if not isinstance(rule, dict):
            return rule
        fields = self._fields(rule, path, _RULE)
        self._each(fields, "And", path, self._rule)
        self._each(fields, "Or", path, self._rule)
        if "Not" in fields:
            fields["Not"] = self._rule(fields["Not"], f"{path}.Not")
        return fields

    def _each(self, fields: dict[str, Any], name: str, path: str, spell: Callable[[Any, str], Any]) -> None:
        values = fields.get(name)
        if isinstance(values, list):
            fields[name] = [spell(one, f"{path}.{name}[{index}]") for index, one in enumerate(values)]

    def _fields(self, fields: Any, path: str, known: Mapping[str, str]) -> Any:
        if not isinstance(fields, dict):
            return fields
        spelled: dict[str, Any] = {}
        for written, value in fields.items():
            name = known.get(written, written)
            if name in spelled:
                self._problems.add(f"{path}.{name}", "is there twice, in two spellings")
            spelled[name] = value
        return spelled
