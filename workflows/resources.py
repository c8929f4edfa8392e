"""What a Task's `Resource` may be. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from workflows.fields import Fields
from workflows.problems import Problems, shown
from workflows.states import ABSENT, Resource
from workflows.templates import SUFFIX

INVOKE: Final = "arn:aws:states:::lambda:invoke"
INVOKE_PARAMETERS: Final = frozenset({"FunctionName", "Payload", "Qualifier"})
LATEST: Final = "$LATEST"

_FUNCTION: Final = r"(?P<function>[A-Za-z0-9][A-Za-z0-9_-]{0,63})(?::(?P<qualifier>[A-Za-z0-9_-]{1,64}|\$LATEST))?"
_REFERENCE: Final = re.compile(rf"(?:arn:aws[a-z-]*:lambda:[a-z0-9-]*:[0-9]*:function:)?{_FUNCTION}")


class ResourceInvalid(ValueError):
    """Nothing that a Task can call; says why."""


def parse(text: str) -> Resource:
    """``name``, ``name:alias``, ``name:3``, a Lambda function's ARN with the same at its end, or `INVOKE`."""
    if text == INVOKE:
        return Resource("", is_lambda_invoke=True)
    found = _REFERENCE.fullmatch(text)
    if found is not None:
        qualifier = found["qualifier"] or ""
        return Resource(found["function"], "" if qualifier == LATEST else qualifier)
    if text.startswith("arn:"):
        raise ResourceInvalid(
            f"{shown(text)} is not supported: a Task calls a function by its name, by the ARN of a Lambda function, or "
            f"by {INVOKE} with a FunctionName in Parameters"
        )
    raise ResourceInvalid(f"{shown(text)} is no function: write name, name:alias or name:version")


def read(fields: Fields, problems: Problems) -> Resource | None:
    """Of a Task's fields. None, and problems, where there is none."""
    fields.need("Resource")
    text = fields.text("Resource")
    if not isinstance(fields.get("Resource"), str):
        return None
    try:
        resource = parse(text)
    except ResourceInvalid as invalid:
        fields.wrong("Resource", str(invalid))
        return None
    if resource.is_lambda_invoke:
        _check_invoke(fields, problems)
    return resource


def _check_invoke(fields: Fields, problems: Problems) -> None:
    call = fields.get("Parameters")
    if not isinstance(call, dict):
        if call is ABSENT:
            fields.wrong("Parameters", f"has to be there: {INVOKE} takes FunctionName and Payload from it")
        return
    path = f"{fields.path}.Parameters"
    for name in call:
        if name.removesuffix(SUFFIX) not in INVOKE_PARAMETERS:
            problems.add(f"{path}.{name}", f"is no parameter of {INVOKE}: {', '.join(sorted(INVOKE_PARAMETERS))} are")
    if "FunctionName" in call:
        _check_name(call["FunctionName"], f"{path}.FunctionName", problems)
    elif f"FunctionName{SUFFIX}" not in call:
        problems.add(f"{path}.FunctionName", "has to be there: the function that is called")


def _check_name(name: Any, path: str, problems: Problems) -> None:
    try:
        if not isinstance(name, str) or parse(name).is_lambda_invoke:
            raise ResourceInvalid("has to be the name or ARN of a function")
    except ResourceInvalid as invalid:
        problems.add(path, str(invalid))
