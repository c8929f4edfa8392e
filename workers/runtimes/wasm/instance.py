"""Instances, made before they are needed: when a call comes, its own lies ready."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from streams import Streams  # type: ignore[import-not-found]
from wasmtime import Engine, Instance, InstancePre, Store, Trap, WasiConfig, WasmtimeError
from wasmtime import _ffi as ffi

_TRAP = ctypes.POINTER(ffi.wasm_trap_t)
_STRINGS = ctypes.POINTER(ctypes.POINTER(ctypes.c_char))


class Fresh:
    """A store with nothing in it but what every call finds there. For one call."""

    def __init__(self, engine: Engine, streams: Streams, *, tmp: str, env: Variables, memory_bytes: int) -> None:
        self.store = Store(engine)
        self.store.set_limits(memory_size=memory_bytes)
        self.instance: Instance | None = None
        self.exports: Any = {}
        self._wasi = WasiConfig()
        self._wasi.argv = ["function"]
        self._wasi.preopen_dir(tmp, "/tmp")
        self._wasi.stdout_file = streams.stdout
        self._wasi.stderr_file = streams.stderr
        env.set(self._wasi)

    def instantiate(self, ready: InstancePre) -> None:
        """Raises Trap, WasmtimeError."""
        self.instance = ready.instantiate(self.store)
        self.exports = self.instance.exports(self.store)

    def instantiate_ahead(self, ready: InstancePre) -> bool:
        """The same before there is a call. False where the module wants to run code for it: not without a deadline."""
        # Time is over before it begins; what has no start function does not notice.
        self.store.set_epoch_deadline(0)
        try:
            self.instantiate(ready)
        except (Trap, WasmtimeError):
            return False
        return True

    def give(self, event: bytes, env: Variables) -> None:
        """What is the call's own."""
        env.set(self._wasi)
        _set_stdin(self._wasi, event)
        self.store.set_wasi(self._wasi)

    def start(self) -> None:
        """A program's `_start`, () -> (). Raises Trap, WasmtimeError."""
        # As `Func.__call__` does it, which asks for the function's type first: half of what such a call costs.
        trap = _TRAP()
        function = self.exports["_start"]
        error = ffi.wasmtime_func_call(
            self.store._context(), ctypes.byref(function._func), None, 0, None, 0, ctypes.byref(trap)
        )
        if error:
            raise WasmtimeError._from_ptr(error)
        if trap:
            raise Trap._from_ptr(trap)

    def close(self) -> None:
        self.store.close()


class Names:
    """Of some environment variables."""

    def __init__(self, names: Sequence[str]) -> None:
        self._count = len(names)
        self._names = self._array(names)

    def _array(self, texts: Sequence[str]) -> Any:
        array = (ctypes.c_char_p * self._count)(*[text.encode() for text in texts])
        return ctypes.cast(array, _STRINGS)

    def with_values(self, values: Sequence[str]) -> Variables:
        """One for each name."""
        return Variables(self._count, self._names, self._array(values))


class Variables:
    """Environment variables as C has them."""

    def __init__(self, count: int, names: Any, values: Any) -> None:
        self._told = (count, names, values)

    def set(self, wasi: WasiConfig) -> None:
        """Besides what has been set before."""
        if not ffi.wasi_config_set_env(wasi.ptr(), *self._told):
            raise WasmtimeError("The environment can't be set.")


def _set_stdin(wasi: WasiConfig, data: bytes) -> None:
    # The package has a file for this only, which would have to be written first.
    vec = ffi.wasm_byte_vec_t()
    first = ctypes.cast(ctypes.c_char_p(data), ctypes.POINTER(ctypes.c_ubyte))
    ffi.wasm_byte_vec_new(ctypes.byref(vec), len(data), first)
    ffi.wasi_config_set_stdin_bytes(wasi.ptr(), ctypes.byref(vec))  # which takes the bytes over
