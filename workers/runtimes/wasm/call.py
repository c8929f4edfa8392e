"""One call of a module: an instance of its own, from the event's bytes to the result's. No state outlives it."""

from __future__ import annotations

import ctypes
import json
from typing import Any

from engine import LIBRARY, form_of, wasi_linker  # type: ignore[import-not-found]
from link import Output  # type: ignore[import-not-found]
from traps import Fault, fault_of  # type: ignore[import-not-found]
from wasmtime import (
    Engine,
    ExitTrap,
    Global,
    Instance,
    Memory,
    Module,
    Store,
    Trap,
    TrapCode,
    WasiConfig,
    WasmtimeError,
)
from wasmtime import _ffi as ffi
from watchdog import Watchdog  # type: ignore[import-not-found]

ALMOST_FULL = 0.9
"""Of the most that its memory may be: a trap then is taken for the end of an allocation that failed."""
CHECKED_BYTES = 256 * 1024
"""A result up to this size is looked at here, where more can be said about it; the driver checks every one."""


class Function:
    """A module that is loaded, linked and ready to be called."""

    def __init__(
        self, engine: Engine, module: Module, *, tmp: str, memory_mb: int, memory_bytes: int, result_bytes: int
    ) -> None:
        """`memory_bytes`: the most that an instance may have of `memory_mb`. Raises WrongModule, WasmtimeError."""
        self._engine = engine
        self._is_library = form_of(module) == LIBRARY
        self._ready = wasi_linker(engine).instantiate_pre(module)
        self._watchdog = Watchdog(engine)
        self._tmp = tmp
        self._memory_mb = memory_mb
        self._memory_bytes = memory_bytes
        self._result_bytes = result_bytes

    def __call__(self, event: bytes, env: list[tuple[str, str]], seconds: float, output: Output) -> bytes:
        """The result, JSON text. Raises Fault."""
        stdout = _Stdout(self._engine, self._result_bytes)
        store = Store(self._engine)
        instance = None
        try:
            store.set_wasi(self._wasi(event, env, stdout, output))
            store.set_limits(memory_size=self._memory_bytes)
            self._watchdog.start(seconds)
            store.set_epoch_deadline(1)
            instance = self._ready.instantiate(store)
            result = self._run(store, instance, event, stdout)
        except (Trap, WasmtimeError) as error:
            self._watchdog.stop()
            raise self._fault(error, store, instance, stdout, output) from None
        finally:
            self._watchdog.stop()
            store.close()
        return self._checked(result)

    def _wasi(self, event: bytes, env: list[tuple[str, str]], stdout: _Stdout, output: Output) -> WasiConfig:
        wasi = WasiConfig()
        wasi.argv = ["function"]
        wasi.env = env
        wasi.preopen_dir(self._tmp, "/tmp")
        _set_stdin(wasi, b"" if self._is_library else event)
        wasi.stdout_custom = (lambda data: output.write("stdout", data)) if self._is_library else stdout.write
        wasi.stderr_custom = lambda data: output.write("stderr", data)
        return wasi

    def _run(self, store: Store, instance: Instance, event: bytes, stdout: _Stdout) -> bytes | bytearray:
        exports: Any = instance.exports(store)
        if self._is_library:
            return _handle(store, exports, event)
        try:
            exports["_start"](store)
        except ExitTrap as error:
            if error.code != 0:
                raise
        if stdout.overflown:
            raise self._too_large()
        return stdout.data

    def _fault(
        self, error: Trap | WasmtimeError, store: Store, instance: Instance | None, stdout: _Stdout, output: Output
    ) -> Fault:
        if stdout.overflown:
            return self._too_large()
        if self._watchdog.bit and isinstance(error, Trap) and error.trap_code is TrapCode.INTERRUPT:
            return Fault("Timeout", "The time of the call was over.", timed_out=True)
        memory_full, stack_full = instance is None and "memory" in str(error), False
        if instance is not None:
            exports = instance.exports(store)
            memory, pointer = exports.get("memory"), exports.get("__stack_pointer")
            memory_full = isinstance(memory, Memory) and memory.data_len(store) > ALMOST_FULL * self._memory_bytes
            # Below its lower end there is nothing: that is what a trap for an address outside came from.
            outside = isinstance(error, Trap) and error.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS
            stack_full = outside and isinstance(pointer, Global) and pointer.value(store) <= 0
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
                json.loads(text, parse_constant=_refuse)
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


def _handle(store: Store, exports: Any, event: bytes) -> bytearray:
    """The library's form: the event is copied in, the result out."""
    memory = exports["memory"]
    try:
        if (start := exports.get("_initialize")) is not None:
            start(store)
        place = exports["alloc"](store, len(event)) & 0xFFFFFFFF
        if place == 0 or place + len(event) > memory.data_len(store):
            raise Fault("WrongPointer", f"alloc({len(event)}) returned {place}, where there is no room for the event.")
        memory.write(store, event, place)
        packed = exports["handle"](store, place, len(event)) & 0xFFFFFFFFFFFFFFFF
    except ExitTrap as error:
        if error.code == 0:
            raise Fault("ProcessExited", "handle ended the program with exit(0) instead of returning.") from None
        raise
    if (flush := exports.get("fflush")) is not None:
        flush(store, 0)  # C's stdout: an unfinished line would go with the instance
    at, size = packed >> 32, packed & 0xFFFFFFFF
    if at + size > memory.data_len(store):
        raise Fault("WrongPointer", f"handle returned {size} bytes at {at}, which is outside of its memory.")
    result: bytearray = memory.read(store, at, at + size)
    return result


def _set_stdin(wasi: WasiConfig, data: bytes) -> None:
    # The package has a file for this only, which would have to be written first.
    vec = ffi.wasm_byte_vec_t()
    first = ctypes.cast(ctypes.c_char_p(data), ctypes.POINTER(ctypes.c_ubyte))
    ffi.wasm_byte_vec_new(ctypes.byref(vec), len(data), first)
    ffi.wasi_config_set_stdin_bytes(wasi.ptr(), ctypes.byref(vec))  # which takes the bytes over


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
