"""One call of a module: an instance of its own, from the event's bytes to the result's. No state outlives it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from engine import LIBRARY, form_of, load_compiled, load_module, make_engine, wasi_linker  # type: ignore[import-not-found]
from instance import Fresh, Setting, Variables  # type: ignore[import-not-found]
from link import Output  # type: ignore[import-not-found]
from streams import Streams  # type: ignore[import-not-found]
from traps import Fault, fault_of  # type: ignore[import-not-found]
from wasmtime import Engine, ExitTrap, FuncType, Module, Trap, TrapCode, ValType, WasmtimeError
from watchdog import Watchdog  # type: ignore[import-not-found]

ALMOST_FULL = 0.9
"""Of the most that its memory may be: a trap then is taken for the end of an allocation that failed."""
CHECKED_BYTES = 256 * 1024
"""A result up to this size is looked at here, where more can be said about it; the driver checks every one."""

_I32 = ValType.i32()
Signature = tuple[list[ValType], list[ValType]]


class Host:
    """What every module finds and no module changes; made before the code is there."""

    def __init__(self, *, tmp: str) -> None:
        self.tmp = tmp
        self.engine = make_engine(in_turns=True)
        self.linker = wasi_linker(self.engine)
        self.streams = Streams()
        self.watchdog = Watchdog(self.engine)

    def load(self, folder: str) -> Module:
        """Raises WasmtimeError, OSError."""
        try:
            module: Module = load_compiled(self.engine, folder)
        except WasmtimeError:
            # Compiled by another version, or it needs more than there is in the place where instances take turns.
            self.engine = self.watchdog.engine = make_engine()
            self.linker = wasi_linker(self.engine)
            module = load_module(self.engine, folder)
        return module


class Function:
    """A module that is loaded, linked and ready to be called."""

    def __init__(
        self, host: Host, module: Module, *, env: Variables, memory_mb: int, memory_bytes: int, result_bytes: int
    ) -> None:
        """`memory_bytes`: the most that an instance may have of `memory_mb`. Raises WrongModule, WasmtimeError."""
        self._host = host
        self._is_library = form_of(module) == LIBRARY
        self._setting = Setting(
            host.engine,
            host.linker.instantiate_pre(module),
            tmp=host.tmp,
            env=env,
            memory_bytes=memory_bytes,
            entries=("memory", "alloc", "handle") if self._is_library else ("_start",),
        )
        self._env = env
        self._begins_with = _hooks(module, {"_initialize": ([], [])})
        self._ends_with = _hooks(module, {"fflush": ([_I32], [_I32])})
        self._memory_mb = memory_mb
        self._memory_bytes = memory_bytes
        self._result_bytes = result_bytes
        self._is_made_ahead = True
        self._next: Fresh | None = None
        self._used: Fresh | None = None
        self.rest()

    def __call__(self, event: bytes, context: Sequence[str], seconds: float, output: Output) -> bytes:
        """The result, JSON text; `rest` is due then. `context`: values of the call's own variables. Raises Fault."""
        fresh, self._next = self._next or Fresh(self._setting), None
        self._used = fresh
        streams, watchdog = self._host.streams, self._host.watchdog
        stdout = _Stdout(self._host.engine, self._result_bytes)
        streams.begin(output.stdout if self._is_library else stdout.write, output.stderr)
        try:
            self._env.set(context)
            fresh.give(b"" if self._is_library else event)
            watchdog.start(seconds)
            if not fresh.is_made:
                fresh.begin()
                fresh.make()
            result = self._run(fresh, event, stdout)
        except (Trap, WasmtimeError) as error:
            streams.end()
            raise self._fault(error, fresh, stdout, output) from None
        finally:
            watchdog.stop()
            streams.end()
        return self._checked(result)

    def rest(self) -> None:
        """Between two calls: away with the last one's instance, and the next one's made."""
        if self._used is not None:
            self._used.close()
            self._used = None
        fresh = Fresh(self._setting)
        if self._is_made_ahead and not fresh.make_ahead():
            self._is_made_ahead = False
            fresh.close()
            fresh = Fresh(self._setting)
        self._next = fresh

    def _run(self, fresh: Fresh, event: bytes, stdout: _Stdout) -> bytes | bytearray:
        if self._is_library:
            return self._handle(fresh, event)
        try:
            fresh.call("_start")
        except ExitTrap as error:
            if error.code != 0:
                raise
        self._host.streams.end()
        if stdout.overflown:
            raise self._too_large()
        return stdout.data

    def _handle(self, fresh: Fresh, event: bytes) -> bytearray:
        """The library's form: the event is copied in, the result out."""
        memory = fresh.memory()
        assert memory is not None  # form_of has seen to it
        try:
            for name in self._begins_with:
                fresh.call(name)
            place = fresh.call("alloc", len(event)) & 0xFFFFFFFF
            if place == 0 or place + len(event) > memory.data_len(fresh):
                text = f"alloc({len(event)}) returned {place}, where there is no room for the event."
                raise Fault("WrongPointer", text)
            memory.write(fresh, event, place)
            packed = fresh.call("handle", place, len(event)) & 0xFFFFFFFFFFFFFFFF
        except ExitTrap as error:
            if error.code == 0:
                raise Fault("ProcessExited", "handle ended the program with exit(0) instead of returning.") from None
            raise
        for name in self._ends_with:
            fresh.call(name, 0)  # C's stdout: an unfinished line would go with the instance
        at, size = packed >> 32, packed & 0xFFFFFFFF
        if at + size > memory.data_len(fresh):
            raise Fault("WrongPointer", f"handle returned {size} bytes at {at}, which is outside of its memory.")
        result: bytearray = memory.read(fresh, at, at + size)
        return result

    def _fault(self, error: Trap | WasmtimeError, fresh: Fresh, stdout: _Stdout, output: Output) -> Fault:
        if stdout.overflown:
            return self._too_large()
        if self._host.watchdog.bit and isinstance(error, Trap) and error.trap_code is TrapCode.INTERRUPT:
            return Fault("Timeout", "The time of the call was over.", timed_out=True)
        memory = fresh.memory()
        memory_full = not fresh.is_made and "memory" in str(error)
        if memory is not None:
            memory_full = memory.data_len(fresh) > ALMOST_FULL * self._memory_bytes
        # Below its lower end there is nothing: that is what a trap for an address outside came from.
        outside = isinstance(error, Trap) and error.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS
        pointer = fresh.number("__stack_pointer") if outside else None
        stack_full = pointer is not None and pointer <= 0
        return fault_of(
            error, output.last_words, memory_full=memory_full, stack_full=stack_full, memory_mb=self._memory_mb
        )

    def _too_large(self) -> Fault:
        return Fault("ResultTooLarge", f"The result is larger than the {self._result_bytes} bytes that are allowed.")

    def _checked(self, result: bytes | bytearray) -> bytes:
        """The result, if it is allowed to be one."""
        text = bytes(result).strip(b" \t\r\n")
        if len(text) > self._result_bytes:
            raise self._too_large()
        if not text:
            where = "handle returned an empty result" if self._is_library else "the program wrote nothing to stdout"
            raise Fault("ResultNotJson", f"There is no result: {where}. A result is JSON; nothing at all is null.")
        if len(text) <= CHECKED_BYTES:
            try:
                _check(text.decode())
            except (ValueError, RecursionError) as error:
                advice = "" if self._is_library else " Write only the result to stdout, and all else to stderr."
                raise Fault("ResultNotJson", f"The result is not JSON: {error}.{advice}") from None
        return text


class _Stdout:
    """What a program writes as its result. One that writes more than a result may have is stopped."""

    def __init__(self, engine: Engine, limit: int) -> None:
        self.data = bytearray()
        self.overflown = False
        self._engine = engine
        self._limit = limit

    def write(self, data: bytes) -> None:
        if len(self.data) + len(data) <= self._limit + 1:
            self.data += data
        elif not self.overflown:
            self.overflown = True
            self._engine.increment_epoch()


def _hooks(module: Module, wanted: dict[str, Signature]) -> list[str]:
    """Those functions that it exports, and with these types."""
    types = {one.name: one.type for one in module.exports}
    found = {name: types[name] for name in wanted if name in types}
    return [
        name for name, one in found.items() if isinstance(one, FuncType) and (one.params, one.results) == wanted[name]
    ]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)
_scan = _decoder.scan_once  # type: ignore[attr-defined]


def _check(text: str) -> None:
    """Raises ValueError, RecursionError where it is not one value in JSON without blanks around it."""
    try:
        if _scan(text, 0)[1] == len(text):
            return
    except StopIteration:
        pass
    _decoder.decode(text)  # which says what is wrong
