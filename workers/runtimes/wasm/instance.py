"""Instances, made before they are needed: when a call comes, its own lies ready."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import capi  # type: ignore[import-not-found]
from wasmtime import Engine, Global, InstancePre, Memory, Trap, WasmtimeError
from wasmtime import _ffi as ffi

_UNLIMITED = -1
_FUNCTION, _GLOBAL, _MEMORY = (
    kind.value for kind in (ffi.WASMTIME_EXTERN_FUNC, ffi.WASMTIME_EXTERN_GLOBAL, ffi.WASMTIME_EXTERN_MEMORY)
)
_I32, _I64 = ffi.WASMTIME_I32.value, ffi.WASMTIME_I64.value
_NOTHING = frozenset({"_start", "_initialize"})
"""Functions that return none."""

_stdin = ffi.wasm_byte_vec_t()
_STDIN = ctypes.addressof(_stdin)


class Strings:
    """Texts as C has them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.count = len(texts)
        self.array = (ctypes.c_char_p * self.count)(*[text.encode() for text in texts])
        self.address = ctypes.addressof(self.array)


class Variables:
    """Environment variables: some the same in every call, then those of the call at hand."""

    def __init__(self, fixed: dict[str, str], of_call: Sequence[str]) -> None:
        """`of_call`: their names."""
        self.count = len(fixed) + len(of_call)
        self._names = Strings([*fixed, *of_call])
        self._values = Strings([*fixed.values(), *("" for _ in of_call)])
        self._fixed = len(fixed)
        self.names, self.values = self._names.address, self._values.address

    def set(self, values: Sequence[str]) -> None:
        """The call's, as many as there are names."""
        self._values.array[self._fixed :] = [value.encode() for value in values]


class Setting:
    """What every instance of a function finds; besides, this process's own stdout and stderr (`streams`)."""

    def __init__(
        self,
        engine: Engine,
        ready: InstancePre,
        *,
        tmp: str,
        env: Variables,
        memory_bytes: int,
        entries: Sequence[str],
    ) -> None:
        """`entries`: what is called or looked at in every call."""
        self.engine, self.ready = capi.address(engine.ptr()), capi.address(ready.ptr())
        self._alive = (engine, ready)
        self.argv = Strings(["function"])
        self.tmp = tmp.encode()
        self.env = env
        self.memory_bytes = memory_bytes
        # One instance is there at a time: what the last one had here the next one overwrites.
        self.instance = ffi.wasmtime_instance_t()
        self.instance_at = ctypes.addressof(self.instance)
        self.entries = [_Entry(name) for name in entries]


class _Entry:
    """Where C is told a name, and leaves what is exported by it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told = name.encode()
        self.size = len(self.told)
        self.found = ffi.wasmtime_extern_t()
        self.at = ctypes.addressof(self.found)


class Fresh:
    """A store for one call, and the one instance in it. The one before must be closed."""

    def __init__(self, setting: Setting) -> None:
        """Raises OSError when the host's side of it can't be opened."""
        self._setting = setting
        self._store = capi.store_new(setting.engine, None, None)
        self._in = capi.store_context(self._store)
        capi.store_limiter(self._store, setting.memory_bytes, _UNLIMITED, _UNLIMITED, _UNLIMITED, _UNLIMITED)
        self._exports: dict[str, Any] = {}
        self.is_made = False
        wasi = self._wasi = capi.wasi_new()
        capi.wasi_set_argv(wasi, setting.argv.count, setting.argv.address)
        capi.wasi_stdout(wasi)
        capi.wasi_stderr(wasi)
        if not capi.wasi_preopen(wasi, setting.tmp, b"/tmp", True):
            raise OSError("The function's /tmp can't be opened.")

    def _context(self) -> Any:
        """For the package's classes: this is a store to them."""
        return ctypes.cast(self._in, ctypes.POINTER(ffi.wasmtime_context_t))

    def make(self) -> None:
        """Raises Trap, WasmtimeError."""
        setting = self._setting
        capi.check(capi.instantiate(setting.ready, self._in, setting.instance_at, capi.TRAP))
        self.is_made = True
        for entry in setting.entries:
            if capi.export_get(self._in, setting.instance_at, entry.told, entry.size, entry.at):
                self._exports[entry.name] = entry.found

    def make_ahead(self) -> bool:
        """The same before there is a call. False where the module wants to run code for it: not without a deadline."""
        # Time is over before it begins; what has no start function does not notice.
        capi.set_epochs(self._in, 0)
        try:
            self.make()
        except (Trap, WasmtimeError):
            return False
        self.begin()
        return True

    def give(self, event: bytes) -> None:
        """What is the call's own; of its environment what is set now. Raises WasmtimeError."""
        env = self._setting.env
        capi.wasi_set_env(self._wasi, env.count, env.names, env.values)
        capi.bytes_new(_STDIN, len(event), event)
        capi.wasi_set_stdin(self._wasi, _STDIN)  # which takes the bytes over
        wasi, self._wasi = self._wasi, None
        capi.check(capi.set_wasi(self._in, wasi))  # the same

    def begin(self) -> None:
        """The next mark of the engine's ends it."""
        capi.set_epochs(self._in, 1)

    def call(self, name: str, *params: int) -> int:
        """An exported function of i32s; what it returns, 0 for nothing. Raises Trap, WasmtimeError."""
        function = self._export(name)
        if function is None or function.kind != _FUNCTION:
            raise WasmtimeError(f"There is no function {name}.")
        place = ctypes.addressof(function) + capi.FUNC_AT
        if name in _NOTHING:
            capi.check(capi.func_call(self._in, place, None, 0, None, 0, capi.TRAP))
            return 0
        given = (ffi.wasmtime_val_t * len(params))()
        for value, number in zip(given, params, strict=True):
            value.kind, value.of.i32 = _I32, number
        result = ffi.wasmtime_val_t()
        to = ctypes.byref(result)
        capi.check(capi.func_call(self._in, place, given, len(params), to, 1, capi.TRAP))
        returned: Any = result
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
        known = self._exports.get(name)
        if known is not None or not self.is_made:
            return known
        entry = _Entry(name)
        if not capi.export_get(self._in, self._setting.instance_at, entry.told, entry.size, entry.at):
            return None
        self._exports[name] = entry.found
        return entry.found

    def close(self) -> None:
        """With all that it has open."""
        if self._wasi is not None:
            capi.wasi_delete(self._wasi)
        capi.store_delete(self._store)
