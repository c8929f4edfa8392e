"""What a definition's Tasks call, and whether it is there: for who checks a definition before it is used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from functions import directory
from nimbus_project.core.errors import NimbusError, Unavailable
from workflows.states import Definition, Resource

MAX_LOOKED_UP = 100
"""Of one definition; each is a few questions to the database."""
MAX_STATES = 20


@dataclass(frozen=True, slots=True)
class Callee:
    function: str
    qualifier: str
    states: list[str]
    """Some that call it, `MAX_STATES` at most."""
    found: bool
    """Whether the principal of this request could call it now."""


def callees(definition: Definition) -> list[Callee]:
    """In the order in which the definition names them, `MAX_LOOKED_UP` at most. A Task that learns what it calls only
    when it runs is not among them."""
    states: dict[tuple[str, str], list[str]] = {}
    for name, resource in _resources(definition):
        states.setdefault((resource.function, resource.qualifier), []).append(name)
    some = list(states.items())[:MAX_LOOKED_UP]
    return [Callee(called, of, names[:MAX_STATES], _is_there(called, of)) for (called, of), names in some]


def _resources(definition: Definition) -> Iterable[tuple[str, Resource]]:
    for state in definition.states.values():
        if state.resource is not None and state.resource.function:
            yield state.name, state.resource


def _is_there(called: str, qualifier: str) -> bool:
    try:
        function = directory.look_up(called)
        if qualifier.isdigit():
            directory.check_version(function, int(qualifier))
        elif qualifier not in {"", "$LATEST"}:
            function.route(qualifier, "", 0.0)
    except Unavailable:
        raise
    except NimbusError:
        return False
    return True
