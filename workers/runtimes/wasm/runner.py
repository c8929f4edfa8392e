"""The WebAssembly runner: the one program of ours inside a sandbox. Speaks `../PROTOCOL.md`.

Started as ``python -u runner.py`` with NIMBUS_SOCKET (the driver's socket) and TMPDIR (what the module sees as /tmp).
The module is loaded once; every call has an instance of its own.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib.metadata import version
from time import monotonic
from typing import Any, NoReturn

from call import Function, Host  # type: ignore[import-not-found]
from engine import WrongModule  # type: ignore[import-not-found]
from instance import Variables  # type: ignore[import-not-found]
from link import (  # type: ignore[import-not-found]
    EXIT_DISCONNECTED,
    FAULT,
    HELLO,
    INVOKE,
    LOAD,
    LOADED,
    PING,
    PONG,
    RESULT,
    Link,
    Output,
    encode_head,
)
from memory import Peak, resident_mb  # type: ignore[import-not-found]
from traps import Fault  # type: ignore[import-not-found]
from wasmtime import WasmtimeError

RESERVE_MB = 24
"""Of the sandbox's memory, for copies of events and results outside of the module."""
LEAST_MB = 16
"""What a module gets in any case."""


class Runner:
    """LOAD once, then one INVOKE after the other."""

    def __init__(self, link: Link, tmp: str) -> None:
        self.link = link
        # Before the code is there: what can be made ready without it.
        self.host = Host(tmp=tmp)
        self.peak = Peak()
        self.load: dict[str, Any] = {}
        self.function: Function | None = None

    def serve(self) -> NoReturn:
        hello = {"protocol": 1, "runtime": "wasm", "pid": os.getpid(), "language_version": version("wasmtime")}
        self.link.send(HELLO, encode_head(hello))
        while True:
            kind, head, body = self.link.receive()
            if kind == INVOKE and self.function is not None:
                self.run(self.function, head, body)
            elif kind == PING:
                self.link.send(PONG, encode_head(head), body)
            elif kind == LOAD:
                self.start(head)
            else:
                os._exit(EXIT_DISCONNECTED)

    def start(self, head: dict[str, Any]) -> None:
        started = monotonic()
        self.load = head
        try:
            self.function = self.prepared(head)
        except (WrongModule, WasmtimeError, OSError) as error:
            self.fault(Fault("InvalidModule", f"The module can't be loaded: {error}"), started, None)
        except Fault as fault:
            self.fault(fault, started, None)
        else:
            # All that is there now stays: nobody need look through it again.
            gc.freeze()
            self.peak.reset()
            self.link.send(LOADED, encode_head({"load_ms": round((monotonic() - started) * 1000, 3)}))

    def prepared(self, head: dict[str, Any]) -> Function:
        if head["artifact_kind"] != "wasm":
            raise Fault("ArtifactKind", f"This runtime can't load an artifact of kind {head['artifact_kind']!r}.")
        module = self.host.load(os.path.join(head["files"], "task"))
        left_mb = max(LEAST_MB, head["memory_mb"] - resident_mb() - RESERVE_MB)
        return Function(
            self.host,
            module,
            env=_environment(head),
            memory_mb=head["memory_mb"],
            memory_bytes=int(left_mb * 1024 * 1024),
            result_bytes=head["max_result_bytes"],
        )

    def run(self, function: Function, head: dict[str, Any], event: bytes) -> None:
        started = monotonic()
        output = Output(self.link, head["id"], self.load["max_log_bytes"])
        try:
            result = function(event, _context(head), head["remaining_ms"] / 1000, output)
        except Fault as fault:
            output.end()
            self.fault(fault, started, head["id"])
            self.rest(function)
            return
        output.end()
        spent = round((monotonic() - started) * 1000, 3)
        told = f'{output.head}"duration_ms":{spent},"memory_mb":{self.peak.mb()}}}'
        self.link.send(RESULT, told, result)
        self.rest(function)

    def rest(self, function: Function) -> None:
        """What a call needs and its caller need not wait for, done after the one before."""
        function.rest()
        self.peak.reset()

    def fault(self, fault: Fault, started: float, call_id: str | None) -> None:
        head: dict[str, Any] = {
            "duration_ms": round((monotonic() - started) * 1000, 3),
            "memory_mb": self.peak.mb(),
            "error": str(fault),
            "error_type": fault.error_type,
            "stack_trace": fault.stack,
            "fatal": False,
        }
        if call_id is not None:
            head["id"] = call_id
        if fault.timed_out:
            head["timed_out"] = True
        self.link.send(FAULT, encode_head(head))


def _environment(head: dict[str, Any]) -> Variables:
    found: dict[str, str] = head.get("env") or {}
    found |= {
        "NIMBUS_FUNCTION_NAME": str(head["function_name"]),
        "NIMBUS_FUNCTION_VERSION": str(head["function_version"]),
        "NIMBUS_MEMORY_LIMIT_MB": str(head["memory_mb"]),
        "NIMBUS_TIMEOUT_SEC": str(head["timeout_sec"]),
    }
    return Variables(found, _CONTEXT)


_CONTEXT = (
    "NIMBUS_INVOCATION_ID",
    "NIMBUS_REQUEST_ID",
    "NIMBUS_REMAINING_MS",
    "NIMBUS_ATTEMPT",
    "NIMBUS_ALIAS",
    "NIMBUS_TRIGGER_TYPE",
)
"""What other languages find in their handler's second argument."""


def _context(head: dict[str, Any]) -> tuple[str, ...]:
    """The values of `_CONTEXT`."""
    return (
        str(head["id"]),
        str(head.get("request_id", "")),
        str(head["remaining_ms"]),
        str(head.get("attempt", 1)),
        str(head.get("alias", "")),
        str(head.get("trigger_type", "")),
    )


def main() -> NoReturn:
    path = os.environ.pop("NIMBUS_SOCKET")
    tmp = os.environ.get("TMPDIR", "/tmp")
    sys.dont_write_bytecode = True
    Runner(Link(path), tmp).serve()


if __name__ == "__main__":
    main()
