"""Where a queued run of a function is reported when it has ended: `on_success` and `on_failure`.

Given as one of these, kept in the second spelling; empty: nowhere::

    "resize"   "resize:prod"   "resize:3"        {"function": "resize:prod"}
                                                 {"workflow": "fulfil-order"}
    "https://example.com/hook"                   {"url": "https://example.com/hook", "signing_secret"?: "HOOK_SECRET"}
                                                 {"event": {"type": "order.failed", "source"?: "/shop", "subject"?:
                                                 "x"}}

`signing_secret` names one of the function's secrets. What delivers them is invocations/reports. Functions lie below
workflows and can't import them: the app above says by `register` how to ask for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from functions.errors import FunctionNotFound
from functions.selectors import NAME_PATTERN, function_get
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.outgoing import url_problem

Destination = Mapping[str, Any]
IsThere = Callable[[str], bool]
"""Whether there is a workflow of this name, for the principal of this request."""

MAX_ATTRIBUTE = 256
_REFERENCE = re.compile(NAME_PATTERN[1:-1] + r"(?::[A-Za-z0-9_-]{1,64})?")
_NAME = re.compile(NAME_PATTERN[1:-1])
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PLATFORM = "nimbus."
_FORMS = 'a function ("name", "name:alias", "name:3"), a URL, {"workflow": "name"} or {"event": {"type": …}}'

_has_workflow: IsThere | None = None


def register(has_workflow: IsThere) -> None:
    global _has_workflow
    _has_workflow = has_workflow


def parse(given: Any) -> dict[str, Any]:
    """As it is stored; ``{}`` for null, "" and ``{}``. Raises ValueError with a sentence."""
    if given is None or given in ("", {}):
        return {}
    if isinstance(given, str):
        given = {"url": given} if "://" in given else {"function": given}
    if not isinstance(given, dict):
        raise ValueError(f"Must be {_FORMS}.")
    kinds = [kind for kind in _PARSERS if kind in given]
    if len(kinds) != 1:
        raise ValueError(f"Must be {_FORMS}.")
    return _PARSERS[kinds[0]](given)


def function_of(destination: Destination) -> str:
    """The name of the function that is to be called, without alias or version; empty for other kinds."""
    reference: str = destination.get("function", "")
    return reference.partition(":")[0]


def check_known(given: Mapping[str, Any]) -> None:
    """Of what a function is being given: a function or workflow that is to be called must be there, for who says so.
    Whether it may be called is asked again each time, in the name of the function's owner. Raises InvalidRequest."""
    for field in ("on_success", "on_failure"):
        destination = given.get(field, {})
        name, workflow = function_of(destination), destination.get("workflow", "")
        message = ""
        if name and not _has_function(name):
            message = f"There is no function named {name}."
        if workflow and (_has_workflow is None or not _has_workflow(workflow)):
            message = f"There is no workflow named {workflow}."
        if message:
            raise InvalidRequest(message, details={field: [message]})


def _has_function(name: str) -> bool:
    try:
        function_get(name)
    except FunctionNotFound:
        return False
    return True


def _function(given: Mapping[str, Any]) -> dict[str, Any]:
    _only(given, "function")
    reference = given["function"]
    if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
        raise ValueError('The function must be given as "name", "name:alias" or "name:3".')
    return {"function": reference}


def _workflow(given: Mapping[str, Any]) -> dict[str, Any]:
    _only(given, "workflow")
    name = given["workflow"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("The workflow must be given by its name.")
    return {"workflow": name}


def _url(given: Mapping[str, Any]) -> dict[str, Any]:
    _only(given, "url", "signing_secret")
    url, secret = given["url"], given.get("signing_secret", "")
    if not isinstance(url, str):
        raise ValueError("The url must be a string.")
    if problem := url_problem(url):
        raise ValueError(f"The url: {problem}")
    if not isinstance(secret, str) or (secret and not _SECRET.fullmatch(secret)):
        raise ValueError("The signing_secret must be the name of one of the function's secrets.")
    return {"url": url} | ({"signing_secret": secret} if secret else {})


def _event(given: Mapping[str, Any]) -> dict[str, Any]:
    _only(given, "event")
    event = given["event"]
    if not isinstance(event, dict):
        raise ValueError('The event must be an object with a "type".')
    _only(event, "type", "source", "subject")
    for name, value in event.items():
        if not isinstance(value, str) or not 0 < len(value) <= MAX_ATTRIBUTE or not value.isprintable():
            raise ValueError(f"The event's {name} must be 1 to {MAX_ATTRIBUTE} printable characters.")
    if "type" not in event:
        raise ValueError('The event must have a "type".')
    if event["type"].casefold().startswith(_PLATFORM):
        raise ValueError(f"Event types that begin with {_PLATFORM} are the platform's own.")
    return {"event": dict(event)}


def _only(given: Mapping[str, Any], *names: str) -> None:
    if unknown := sorted(set(given) - set(names)):
        raise ValueError(f"There is no such field: {str(unknown[0])[:64]}.")


_PARSERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "function": _function,
    "workflow": _workflow,
    "url": _url,
    "event": _event,
}
