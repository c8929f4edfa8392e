"""Where the states of a machine lead: to states of the same machine, all of them reached, and to an end. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workflows.problems import Problems, shown
from workflows.states import State, StateType


@dataclass(frozen=True, slots=True)
class Machine:
    """The whole, a branch, or what a Map does for each item."""

    path: str
    """Of the object that has `StartAt`."""
    start_at: str
    states: Mapping[str, State | None]
    """None: what could not be read; where it leads is not known."""


def check(machine: Machine, problems: Problems) -> None:
    """What is never reached is told when all that is named is there: else it would be the same mistake twice."""
    is_whole = None not in machine.states.values()
    for state in machine.states.values():
        for field, target in targets(state) if state else ():
            if target not in machine.states:
                is_whole = False
                where = f"{machine.path}.States.{state.name if state else ''}.{field}"
                problems.add(where, f"there is no state {shown(target)} beside it")
    if machine.start_at not in machine.states:
        if machine.start_at:
            problems.add(f"{machine.path}.StartAt", f"there is no state {shown(machine.start_at)}")
        return
    if is_whole:
        _check_ways(machine, problems)


def _check_ways(machine: Machine, problems: Problems) -> None:
    reached = {machine.start_at}
    left = [machine.start_at]
    while left:
        state = machine.states[left.pop()]
        for _, target in targets(state) if state else ():
            if target in machine.states and target not in reached:
                reached.add(target)
                left.append(target)
    for name in machine.states:
        if name not in reached:
            problems.add(f"{machine.path}.States.{name}", "is never reached: no state leads to it")
    if not any(_is_end(machine.states[name]) for name in reached):
        problems.add(machine.path, 'never ends: no state that is reached is a Succeed, a Fail, or has "End": true')


def targets(state: State) -> Iterator[tuple[str, str]]:
    """The field that names another state, and which."""
    if state.next:
        yield "Next", state.next
    if state.default:
        yield "Default", state.default
    for index, rule in enumerate(state.rules):
        if rule.next:
            yield f"Choices[{index}].Next", rule.next
    for index, catcher in enumerate(state.catch):
        if catcher.next:
            yield f"Catch[{index}].Next", catcher.next


def _is_end(state: State | None) -> bool:
    return state is not None and state.type is not StateType.CHOICE and not state.next
