"""Instances, made before they are needed: when a call comes, its own lies ready.

By wasmtime's C API: the package's own classes look names and types up at every step, and cost as much as what they do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from streams import Streams  # type: ignore[import-not-found]
from wasmtime import Engine, Global, InstancePre, Memory, Trap, WasmtimeError
from wasmtime import _ffi as ffi

_TRAP = ctypes.POINTER(ffi.wasm_trap_t)
_STRINGS = ctypes.POINTER(ctypes.POINTER(ctypes.c_char))
_NO_FINALIZER = ctypes.cast(0, ctypes.CFUNCTYPE(None, ctypes.c_void_p))
_UNLIMITED = -1
_FUNCTION, _GLOBAL, _MEMORY = (
    kind.value for kind in (ffi.WASMTIME_EXTERN_FUNC, ffi.WASMTIME_EXTERN_GLOBAL, ffi.WASMTIME_EXTERN_MEMORY)
)
_I32, _I64 = ffi.WASMTIME_I32.value, ffi.WASMTIME_I64.value


class Strings:
    """Texts as C has them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.count = len(texts)
        self.array = ctypes.cast((ctypes.c_char_p * self.count)(*[text.encode() for text in texts]), _STRINGS)


class Variables:
    """Environment variables; as many values as names."""

    def __init__(self, names: Strings, values: Strings) -> None:
        self.names = names
        self.values = values


class Setting:
    """What every instance of a function finds."""

    def __init__(self, engine: Engine, streams: Streams, *, tmp: str, env: Variables, memory_bytes: int) -> None:
        self.engine = engine
        self.argv = Strings(["function"])
        self.tmp = tmp.encode()
        self.stdout = streams.stdout.encode()
        self.stderr = streams.stderr.encode()
        self.env = env
        self.memory_bytes = memory_bytes


class Fresh:
    """A store for one call, and the one instance in it."""

    def __init__(self, setting: Setting) -> None:
        """Raises OSError when the host's side of it can't be opened."""
        self._store = ffi.wasmtime_store_new(setting.engine.ptr(), None, _NO_FINALIZER)
        self._in = ffi.wasmtime_store_context(self._store)
        ffi.wasmtime_store_limiter(self._store, setting.memory_bytes, _UNLIMITED, _UNLIMITED, _UNLIMITED, _UNLIMITED)
        self._instance = ffi.wasmtime_instance_t()
        self.is_made = False
        self._wasi: Any = ffi.wasi_config_new()
        ffi.wasi_config_set_argv(self._wasi, setting.argv.count, setting.argv.array)
        self._set_env(setting.env)
        opened = (
            ffi.wasi_config_set_stdout_file(self._wasi, setting.stdout)
            and ffi.wasi_config_set_stderr_file(self._wasi, setting.stderr)
            and ffi.wasi_config_preopen_dir(self._wasi, ctypes.c_char_p(setting.tmp), ctypes.c_char_p(b"/tmp"), True)
        )
        if not opened:
            raise OSError("The function's output or its /tmp can't be opened.")

    def _context(self) -> Any:
        """For the package's classes: this is a store to them."""
        return self._in

    def make(self, ready: InstancePre) -> None:
        """Raises Trap, WasmtimeError."""
        trap = _TRAP()
        error = ffi.wasmtime_instance_pre_instantiate(
            ready.ptr(), self._in, ctypes.byref(self._instance), ctypes.byref(trap)
        )
        _raise(error, trap)
        self.is_made = True

    def make_ahead(self, ready: InstancePre) -> bool:
        """The same before there is a call. False where the module wants to run code for it: not without a deadline."""
        # Time is over before it begins; what has no start function does not notice.
        ffi.wasmtime_context_set_epoch_deadline(self._in, 0)
        try:
            self.make(ready)
        except (Trap, WasmtimeError):
            return False
        return True

    def give(self, event: bytes, env: Variables) -> None:
        """What is the call's own. Raises WasmtimeError."""
        self._set_env(env)
        # The package has a file for this only, which would have to be written first.
        vec = ffi.wasm_byte_vec_t()
        first = ctypes.cast(ctypes.c_char_p(event), ctypes.POINTER(ctypes.c_ubyte))
        ffi.wasm_byte_vec_new(ctypes.byref(vec), len(event), first)
        ffi.wasi_config_set_stdin_bytes(self._wasi, ctypes.byref(vec))  # which takes the bytes over
        wasi, self._wasi = self._wasi, None
        _raise(ffi.wasmtime_context_set_wasi(self._in, wasi), None)  # the same

    def _set_env(self, env: Variables) -> None:
        """Besides what has been set before."""
        ffi.wasi_config_set_env(self._wasi, env.names.count, env.names.array, env.values.array)

    def begin(self) -> None:
        """The next mark of the engine's ends it."""
        ffi.wasmtime_context_set_epoch_deadline(self._in, 1)

    def call(self, name: str, *params: int) -> int:
        """An exported function of i32s; what it returns, 0 for nothing. Raises Trap, WasmtimeError."""
        function = self._export(name)
        if function is None or function.kind != _FUNCTION:
            raise WasmtimeError(f"There is no function {name}.")
        given = (ffi.wasmtime_val_t * len(params))()
        for value, number in zip(given, params, strict=True):
            value.kind, value.of.i32 = _I32, number
        count = 0 if name in ("_start", "_initialize") else 1
        result = (ffi.wasmtime_val_t * count)()
        trap = _TRAP()
        error = ffi.wasmtime_func_call(
            self._in, ctypes.byref(function.of.func), given, len(params), result, count, ctypes.byref(trap)
        )
        _raise(error, trap)
        if not count:
            return 0
        returned: Any = result[0]
        return int(returned.of.i64 if returned.kind == _I64 else returned.of.i32)

    def memory(self) -> Memory | None:
        """The one it exports."""
        found = self._export("memory")
        return Memory._from_raw(found.of.memory) if found is not None and found.kind == _MEMORY else None

    def number(self, name: str) -> int | None:
        """What an exported global holds."""
        found = self._export(name)
        if found is None or found.kind != _GLOBAL:
            return None
        store: Any = self  # as it is to all of the package's classes
        value = Global._from_raw(found.of.global_).value(store)
        return value if isinstance(value, int) else None

    def _export(self, name: str) -> Any:
        if not self.is_made:
            return None
        found = ffi.wasmtime_extern_t()
        told = name.encode()
        is_there = ffi.wasmtime_instance_export_get(
            self._in, ctypes.byref(self._instance), ctypes.create_string_buffer(told), len(told), ctypes.byref(found)
        )
        return found if is_there else None

    def close(self) -> None:
        """With all that it has open."""
        if self._wasi is not None:
            ffi.wasi_config_delete(self._wasi)
        ffi.wasmtime_store_delete(self._store)


def _raise(error: Any, trap: Any) -> None:
    if error:
        raise WasmtimeError._from_ptr(error)
    if trap:
        raise Trap._from_ptr(trap)
