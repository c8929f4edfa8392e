"""The WebAssembly engine of builder and runner: one configuration, so that what the one compiles the other can load.

Only the standard library and the `wasmtime` of `wheels.txt`.
"""

from __future__ import annotations

import os

# Read when a module is compiled: keeps what maps traps to lines of source, where the module has it.
os.environ["WASMTIME_BACKTRACE_DETAILS"] = "1"

from wasmtime import Config, Engine, FuncType, Linker, Module, ValType, WasmtimeError
from wasmtime import _ffi as ffi

MODULE, COMPILED = "module.wasm", "module.cwasm"
"""The artifact's two files."""
STACK_BYTES = 1024 * 1024
"""Of nested calls; what C and Rust keep in arrays lies in the module's own memory."""
WASI = frozenset({"wasi_snapshot_preview1", "wasi_unstable"})
PROGRAM, LIBRARY = "program", "library"

_I32, _I64 = ValType.i32(), ValType.i64()
_LIBRARY = {"alloc": ([_I32], [_I32]), "handle": ([_I32, _I32], [_I64])}
_SIGNATURES = {"alloc": "alloc(size: i32) -> i32", "handle": "handle(ptr: i32, len: i32) -> i64"}


class WrongModule(Exception):
    """The module can't be a function; the message says why and what to do."""


TABLES, TABLE_ELEMENTS = 4, 1024 * 1024
"""What a module may have for its instances to take turns in one place, besides one memory."""


def make_engine(*, in_turns: bool = False) -> Engine:
    """Calls can be interrupted from outside (epochs), deep recursion is a trap, code is optimised.

    `in_turns`: its instances live in one place, one after the other, which the engine empties in between. That costs
    a third less than memory mapped anew for each. A module that needs more than the place has can't be loaded then."""
    config = Config()
    config.epoch_interruption = True
    config.max_wasm_stack = STACK_BYTES
    config.cranelift_opt_level = "speed"
    if in_turns:
        _share_one_place(config)
    return Engine(config)


def _share_one_place(config: Config) -> None:
    limits = ffi.wasmtime_pooling_allocation_config_new()
    for name, limit in (
        ("total_core_instances", 1),
        ("total_memories", 1),
        ("total_tables", TABLES),
        ("max_tables_per_module", TABLES),
        ("table_elements", TABLE_ELEMENTS),
        ("total_gc_heaps", 1),
        ("total_stacks", 0),
        # At once: none of it waits for others to be given back with it.
        ("decommit_batch_size", 1),
    ):
        getattr(ffi, f"wasmtime_pooling_allocation_config_{name}_set")(limits, limit)
    ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), limits)
    ffi.wasmtime_pooling_allocation_config_delete(limits)


def load_compiled(engine: Engine, folder: str) -> Module:
    """The artifact's module as it was compiled ahead of time. Raises WasmtimeError, OSError."""
    return Module.deserialize_file(engine, os.path.join(folder, COMPILED))


def load_module(engine: Engine, folder: str) -> Module:
    """The artifact's module: as it was compiled ahead of time, else compiled now (another version of wasmtime, or a
    processor that lacks what the builder's had). Raises WasmtimeError, OSError."""
    try:
        return load_compiled(engine, folder)
    except WasmtimeError:
        with open(os.path.join(folder, MODULE), "rb") as file:
            return Module(engine, file.read())


def wasi_linker(engine: Engine) -> Linker:
    """All that a module may import: WASI, preview 1."""
    linker = Linker(engine)
    linker.define_wasi()
    return linker


def form_of(module: Module) -> str:
    """PROGRAM or LIBRARY, by the exports. Raises WrongModule when it is neither, or needs more than WASI."""
    strange = sorted({f"{one.module}.{one.name}" for one in module.imports if one.module not in WASI})
    if strange:
        raise WrongModule(
            f"The module imports what is not there: {', '.join(strange[:10])}. "
            "A function may import WASI (wasi_snapshot_preview1) only."
        )
    exports = {one.name: one.type for one in module.exports}
    if "alloc" in exports and "handle" in exports:
        for name, (params, results) in _LIBRARY.items():
            found = exports[name]
            if not isinstance(found, FuncType) or (found.params, found.results) != (params, results):
                raise WrongModule(f"The export {name} must be {_SIGNATURES[name]}, but is {_told(found)}.")
        if "memory" not in exports:
            raise WrongModule("The module does not export its memory, through which events and results go.")
        return LIBRARY
    start = exports.get("_start")
    if isinstance(start, FuncType):
        if start.params or start.results:
            raise WrongModule(f"The export _start must be () -> nothing, but is {_told(start)}.")
        return PROGRAM
    there = ", ".join(sorted(exports)[:20]) or "nothing"
    raise WrongModule(
        "The module is no function: it has neither a main() (export _start) nor both exports "
        f"{_SIGNATURES['alloc']} and {_SIGNATURES['handle']}. It exports: {there}."
    )


def _told(found: object) -> str:
    if not isinstance(found, FuncType):
        return "no function"
    params, results = (", ".join(str(one) for one in types) for types in (found.params, found.results))
    return f"({params}) -> {results or 'nothing'}"
