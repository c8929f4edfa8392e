"""A workflow's definition, from what a user writes to what the engine reads. Pure.

Amazon States Language with JSONPath, in the specification's spelling or in the older snake_case one. All that is wrong
is told at once, and what can be known to be wrong is known here: when a state runs, only its data can be.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from workflows import graph, json_shape, state_reader
from workflows.data_flow import MAX_SECONDS
from workflows.fields import Fields
from workflows.graph import Machine
from workflows.problems import DefinitionInvalid, Problem, Problems, shown
from workflows.spelling import MACHINE_FIELDS, PROCESSOR_CONFIG_FIELDS, PROCESSOR_FIELDS, TOP_FIELDS, in_one_spelling
from workflows.states import Definition, State, StateType

__all__ = ["DefinitionInvalid", "Problem", "from_text", "parse"]

MAX_STATES: Final = 1000
MAX_NESTED: Final = 10
"""Machines in one another: a Parallel or Map inside another, and so on."""
MAX_NAME_CHARS: Final = 80
USUAL_CHARS: Final = 16 * 1024


def parse(document: Any) -> Definition:
    """Of decoded JSON; the caller bounds its bytes. Raises `DefinitionInvalid` with all that is wrong, and nothing
    else, whatever the document is."""
    problems = Problems()
    json_shape.check(document, problems)
    problems.raise_any()
    written = in_one_spelling(document, problems)
    reader = _Reader(problems)
    start_at, comment, timeout_sec = reader.top(written)
    problems.raise_any()
    return Definition(
        start_at=start_at, states=reader.table, timeout_sec=timeout_sec, comment=comment, document=written
    )


def from_text(text: str) -> Definition:
    """Of a stored definition's JSON text. Read once, while it is among those that were used last."""
    return _usual(text) if len(text) <= USUAL_CHARS else _large(text)


@lru_cache(maxsize=512)
def _usual(text: str) -> Definition:
    return parse(json.loads(text))


@lru_cache(maxsize=8)
def _large(text: str) -> Definition:
    """Apart, and fewer: a megabyte of text is fifteen of objects."""
    return parse(json.loads(text))


class _Reader:
    """Goes through a definition's machines, and gathers the states of all of them in one table."""

    def __init__(self, problems: Problems) -> None:
        self.table: dict[str, State] = {}
        self._names: dict[str, str] = {}
        """Of all states, those that can't be read too, with where they are."""
        self._problems = problems

    def top(self, document: Any) -> tuple[str, str, int | None]:
        fields = Fields(document, "", TOP_FIELDS, "a definition", self._problems)
        state_reader.check_query_language(fields)
        if fields.text("Version", "1.0") != "1.0":
            fields.wrong("Version", "has to be 1.0")
        start_at = self._machine(fields, 0)
        return start_at, fields.text("Comment"), fields.whole("TimeoutSeconds", 1, MAX_SECONDS)

    def _machine(self, fields: Fields, depth: int) -> str:
        """The name of its first state."""
        if depth > MAX_NESTED:
            self._problems.add(fields.path, f"may not be nested more than {MAX_NESTED} deep")
            return ""
        fields.need("StartAt")
        fields.need("States")
        fields.text("Comment")
        start_at = fields.name_of_state("StartAt")
        written = fields.get("States")
        states: dict[str, State | None] = {}
        if isinstance(written, dict):
            states = {name: self._state(name, one, fields.path, depth) for name, one in written.items()}
            if not states:
                fields.wrong("States", "has to have at least one state")
            graph.check(Machine(fields.path, start_at, states), self._problems)
        elif "States" in fields:
            fields.wrong("States", "has to be an object: each state by its name")
        return start_at

    def _state(self, name: str, value: Any, machine: str, depth: int) -> State | None:
        path = f"{machine}.States.{name}"
        if not self._is_new(name, path):
            return None
        state = state_reader.read(name, value, path, self._problems)
        if state is None:
            return None
        if state.type is StateType.PARALLEL:
            state = replace(state, branches=self._branches(value.get("Branches"), path, depth))
        elif state.type is StateType.MAP:
            state = replace(state, branches=self._processor(value, path, depth))
        self.table[name] = state
        return state

    def _is_new(self, name: str, path: str) -> bool:
        if len(self._names) >= MAX_STATES:
            self._problems.add("States", f"are more than {MAX_STATES:,}, those of branches too")
            return False
        if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
            self._problems.add(path, f"a state's name has 1 to {MAX_NAME_CHARS} printable characters")
        if name in self._names:
            self._problems.add(
                path,
                f"a state at {shown(self._names[name])} has this name already, and names are unique",
            )
            return False
        self._names[name] = path.lstrip(".")
        return True

    def _branches(self, branches: Any, path: str, depth: int) -> tuple[str, ...]:
        if not isinstance(branches, list):
            return ()
        return tuple(
            self._machine(
                Fields(one, f"{path}.Branches[{index}]", MACHINE_FIELDS, "a branch", self._problems), depth + 1
            )
            for index, one in enumerate(branches)
        )

    def _processor(self, state: dict[str, Any], path: str, depth: int) -> tuple[str, ...]:
        name = "ItemProcessor" if "ItemProcessor" in state else "Iterator"
        if name not in state:
            return ()
        fields = Fields(state[name], f"{path}.{name}", PROCESSOR_FIELDS, f"an {name}", self._problems)
        if "ProcessorConfig" in fields:
            self._check_config(fields.get("ProcessorConfig"), f"{path}.{name}.ProcessorConfig")
        return (self._machine(fields, depth + 1),)

    def _check_config(self, value: Any, path: str) -> None:
        config = Fields(value, path, PROCESSOR_CONFIG_FIELDS, "a ProcessorConfig", self._problems)
        mode = config.text("Mode", "INLINE")
        if mode != "INLINE":
            config.wrong("Mode", f"{shown(mode)} is not supported: a Map runs INLINE")
        elif "ExecutionType" in config:
            config.wrong("ExecutionType", "belongs to distributed Maps, which are not supported")
