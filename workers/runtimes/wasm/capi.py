"""The part of wasmtime's C API that a call goes through, with arguments that Python need not convert.

The package's own functions take pointers of many types, and making those costs as much as what they point to.
"""

from __future__ import annotations

import ctypes
from typing import Any

from wasmtime import Trap, WasmtimeError
from wasmtime import _ffi as ffi

_POINTER, _SIZE, _INT, _TEXT, _BOOL = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, ctypes.c_char_p, ctypes.c_bool
# Keeps Python's lock: these are over at once. What may take its time lets the other threads run meanwhile.
_QUICK, _SLOW = ctypes.PyDLL(str(ffi.filename)), ffi.dll


def _function(library: ctypes.CDLL, name: str, returns: Any, *takes: Any) -> Any:
    # By index: a function object of our own, not the one whose types the package has set.
    found = library[name]
    found.restype, found.argtypes = returns, takes
    return found


store_new = _function(_QUICK, "wasmtime_store_new", _POINTER, _POINTER, _POINTER, _POINTER)
store_context = _function(_QUICK, "wasmtime_store_context", _POINTER, _POINTER)
store_limiter = _function(_QUICK, "wasmtime_store_limiter", None, _POINTER, _INT, _INT, _INT, _INT, _INT)
store_delete = _function(_SLOW, "wasmtime_store_delete", None, _POINTER)
wasi_new = _function(_QUICK, "wasi_config_new", _POINTER)
wasi_delete = _function(_QUICK, "wasi_config_delete", None, _POINTER)
wasi_set_argv = _function(_QUICK, "wasi_config_set_argv", _BOOL, _POINTER, _SIZE, _POINTER)
wasi_set_env = _function(_QUICK, "wasi_config_set_env", _BOOL, _POINTER, _SIZE, _POINTER, _POINTER)
wasi_set_stdin = _function(_QUICK, "wasi_config_set_stdin_bytes", None, _POINTER, _POINTER)
wasi_stdout = _function(_QUICK, "wasi_config_inherit_stdout", None, _POINTER)
wasi_stderr = _function(_QUICK, "wasi_config_inherit_stderr", None, _POINTER)
wasi_preopen = _function(_QUICK, "wasi_config_preopen_dir", _BOOL, _POINTER, _TEXT, _TEXT, _BOOL)
bytes_new = _function(_QUICK, "wasm_byte_vec_new", None, _POINTER, _SIZE, _TEXT)
set_wasi = _function(_QUICK, "wasmtime_context_set_wasi", _POINTER, _POINTER, _POINTER)
set_epochs = _function(_QUICK, "wasmtime_context_set_epoch_deadline", None, _POINTER, ctypes.c_uint64)
export_get = _function(
    _QUICK, "wasmtime_instance_export_get", _BOOL, _POINTER, _POINTER, _TEXT, _SIZE, _POINTER
)  # fmt: skip
instantiate = _function(
    _SLOW, "wasmtime_instance_pre_instantiate", _POINTER, _POINTER, _POINTER, _POINTER, _POINTER
)  # fmt: skip
func_call = _function(
    _SLOW, "wasmtime_func_call", _POINTER, _POINTER, _POINTER, _POINTER, _SIZE, _POINTER, _SIZE, _POINTER
)  # fmt: skip

FUNC_AT = ffi.wasmtime_extern_t.of.offset
"""Of what an export is, below the word that says which kind."""

_trap = ctypes.c_void_p()
TRAP = ctypes.addressof(_trap)
"""Where a trap is left for `check`. One thread makes instances and calls them."""


def address(pointer: Any) -> int:
    """Of what one of the package's pointers points to, which must be kept alive."""
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def check(error: int | None) -> None:
    """After a function that returns an error or leaves a trap. Raises Trap, WasmtimeError."""
    if error:
        raise WasmtimeError._from_ptr(ctypes.cast(error, ctypes.POINTER(ffi.wasmtime_error_t)))
    if trap := _trap.value:
        _trap.value = None
        raise Trap._from_ptr(ctypes.cast(trap, ctypes.POINTER(ffi.wasm_trap_t)))
