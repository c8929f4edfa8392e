"""Payload templates (§ "Payload Template"): checked when a definition is read, filled when a state runs. Pure."""

from __future__ import annotations

from typing import Any, Final

from workflows import intrinsics, paths
from workflows.problems import Problems
from workflows.scope import Scope

SUFFIX: Final = ".$"


def check(template: Any, path: str, problems: Problems) -> None:
    """All that ends in ``.$`` is a path or a call of an intrinsic function."""
    if isinstance(template, list):
        for index, one in enumerate(template):
            check(one, f"{path}[{index}]", problems)
    if not isinstance(template, dict):
        return
    for name, value in template.items():
        if not name.endswith(SUFFIX):
            check(value, f"{path}.{name}", problems)
            continue
        if name.removesuffix(SUFFIX) in template:
            problems.add(f"{path}.{name}", f"is there twice: as {name.removesuffix(SUFFIX)!r} too")
        _check_source(value, f"{path}.{name}", problems)


def _check_source(text: Any, path: str, problems: Problems) -> None:
    if not isinstance(text, str):
        problems.add(path, "has to be a string, a path or a call of an intrinsic function, as its name ends in .$")
        return
    try:
        if text.startswith("$"):
            paths.check(text)
        else:
            intrinsics.check(text)
    except (paths.PathInvalid, intrinsics.IntrinsicInvalid) as invalid:
        problems.add(path, str(invalid))


def filled(template: Any, scope: Scope) -> Any:
    """The payload. Raises `Failure`."""
    if isinstance(template, list):
        return [filled(one, scope) for one in template]
    if not isinstance(template, dict):
        return template
    payload: dict[str, Any] = {}
    for name, value in template.items():
        if name.endswith(SUFFIX):
            payload[name.removesuffix(SUFFIX)] = _put_in(value, scope)
        else:
            payload[name] = filled(value, scope)
    return payload


def _put_in(text: str, scope: Scope) -> Any:
    value = paths.read(text, scope) if text.startswith("$") else intrinsics.evaluate(text, scope)
    scope.payload.spend(value)
    return value
