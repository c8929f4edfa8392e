"""A handler of the zoo and what it must come to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from functions.runtimes import RUNTIMES, Runtime
from invocations.outcome import Status

FOLDER = Path(__file__).parent
BY_LANGUAGE = {
    "python": RUNTIMES["python3.11"],
    "node": RUNTIMES["nodejs20"],
    "rust": RUNTIMES["wasm"],
    "c": RUNTIMES["wasm"],
    "go": RUNTIMES["go1.24"],
}
COMPILED = {"rust": ".rs", "c": ".c", "go": ".go"}
"""Suffixes of the languages that are built before they run."""

ANY = object()
"""Any value will do."""

CALL = {"request_id": "req-1", "alias": "prod", "attempt": 2, "trigger_type": "cron", "invocation_id": "inv-0"}
SPEC = {"function_name": "zoo", "function_version": 7, "memory_limit_mb": 256, "timeout_sec": 10}
ENV = {"COLOUR": "blue", "TZ": "Europe/Berlin"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One handler and the outcome of its last call; earlier calls must succeed."""

    name: str
    status: Status = Status.SUCCESS
    events: tuple[Any, ...] = ({},)
    outputs: tuple[Any, ...] = (ANY,)
    """Of the successful calls, in order."""
    error_type: str = ""
    """A regular expression, for the whole type."""
    error: str = ""
    """A regular expression, to be found in the error."""
    stack: tuple[str, ...] = ()
    """Regular expressions, one for each entry of the stack trace in order; none: not looked at."""
    logs: tuple[str, ...] | None = None
    """Lines of the last call, ``stdout: text``; None: not looked at."""
    memory_mb: int = 256
    timeout_sec: int = 10
    at_load: bool = False
    """Fails before the first call."""
    survives: bool | None = True
    """Whether the sandbox serves on afterwards; None: either way is right."""
    languages: tuple[str, ...] = ("python", "node")
    language: str = field(default="")
    file: str = ""
    """The handler's file, without suffix, where several cases share one: a build takes a second. Empty: the name."""

    @property
    def runtime(self) -> Runtime:
        return BY_LANGUAGE[self.language]

    @property
    def source(self) -> bytes:
        suffix = COMPILED.get(self.language, self.runtime.source_suffix)
        return (FOLDER / self.language / f"{self.file or self.name}{suffix}").read_bytes()


MB = 1024 * 1024


def doing(case: Case, name: str, **changes: Any) -> Case:
    """A case of a file that does as the event says."""
    return replace(case, name=name, **{"events": (name,)} | changes)
