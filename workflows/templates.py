"""Payload templates (§ "Payload Template"): checked when a definition is read, filled when a state runs. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from workflows import intrinsics, paths
from workflows.problems import Problems
from workflows.sizes import check_size

MAX_PAYLOAD_BYTES: Final = 6 * 1024 * 1024
"""Of what a template comes to: the most that an event may have."""
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


def filled(template: Any, data: Any, context: Mapping[str, Any], source: random.Random) -> Any:
    """The payload. Raises `Failure`."""
    return _Filling(data, context, source).of(template)


class _Filling:
    """Of one template: what is put in is counted, for one path may be written often."""

    def __init__(self, data: Any, context: Mapping[str, Any], source: random.Random) -> None:
        self._data = data
        self._context = context
        self._source = source
        self._left = MAX_PAYLOAD_BYTES

    def of(self, template: Any) -> Any:
        if isinstance(template, list):
            return [self.of(one) for one in template]
        if not isinstance(template, dict):
            return template
        payload: dict[str, Any] = {}
        for name, value in template.items():
            if name.endswith(SUFFIX):
                payload[name.removesuffix(SUFFIX)] = self._put_in(value)
            else:
                payload[name] = self.of(value)
        return payload

    def _put_in(self, text: str) -> Any:
        if text.startswith("$"):
            value = paths.read(text, self._data, self._context)
        else:
            value = intrinsics.evaluate(text, self._data, self._context, self._source)
        self._left -= check_size(value, self._left)
        return value
