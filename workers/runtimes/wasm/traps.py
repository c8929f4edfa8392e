"""What a bad end of a call means, in words for the person who wrote the function."""

from __future__ import annotations

import re

from wasmtime import ExitTrap, Trap, TrapCode, WasmtimeError

MAX_FRAMES = 50
MAX_ERROR_CHARS = 64 * 1024
SOURCES = "/src/"
"""Where debug information says that the user's sources are; the builder's compilers are told so."""

_FRAME = re.compile(r"^ *(?:\d+: +(?:0x[0-9a-f]+ - )?(?:<[^>]*>!|[^!\n ]*\.wasm!)?|- )(?P<name>.+)$")
"""One that was inlined into the one before has a dash for its number."""
_AT = re.compile(r"^ +at (?P<file>.+?):(?P<line>\d+)(?::\d+)?$")
_HASH = re.compile(r"::h[0-9a-f]{16}$")
_LANGUAGE = re.compile(
    r"^<?&?(?:mut )?(?:std|core|alloc|compiler_builtins|dlmalloc)::|^(?:__|rust_|wasi_)|^(?:_start|_initialize|abort)$"
    r"|.*\.command_export$"
)
"""Functions of the languages' own runtimes."""
_PANIC = re.compile(r"panicked at (?P<where>[^\n]+?):\n(?P<what>.*?)(?:\nnote: |\n?\Z)", re.DOTALL)
_NO_MEMORY = re.compile(r"memory allocation of \d+ bytes failed")
_TRAPS = {
    TrapCode.UNREACHABLE: "The code gave up: it reached an unreachable instruction (abort, failed assertion).",
    TrapCode.MEMORY_OUT_OF_BOUNDS: "The code used an address outside of its memory.",
    TrapCode.INTEGER_DIVISION_BY_ZERO: "The code divided an integer by zero.",
    TrapCode.INTEGER_OVERFLOW: "An integer operation overflowed.",
    TrapCode.BAD_CONVERSION_TO_INTEGER: "A float that has no integer was converted to one.",
    TrapCode.INDIRECT_CALL_TO_NULL: "The code called through a null function pointer.",
    TrapCode.BAD_SIGNATURE: "The code called a function through a pointer of another type.",
    TrapCode.TABLE_OUT_OF_BOUNDS: "The code called through a function pointer that points to none.",
}


class Fault(Exception):
    """A bad end that has a name of the platform's."""

    def __init__(self, error_type: str, error: str, stack: list[str] | None = None, *, timed_out: bool = False) -> None:
        super().__init__(error)
        self.error_type = error_type
        self.stack = stack or []
        self.timed_out = timed_out


def fault_of(error: WasmtimeError | Trap, tail: bytes, *, memory_full: bool, stack_full: bool, memory_mb: int) -> Fault:
    """`tail`: the last words on stderr. `memory_full`, `stack_full`: what the memory looked like then."""
    said = tail.decode(errors="replace")
    if isinstance(error, ExitTrap):
        return _exited(error.code, said)
    code = error.trap_code if isinstance(error, Trap) else None
    stack = frames_of(str(error))
    if code is TrapCode.STACK_OVERFLOW or stack_full:
        text = "The calls are nested too deeply, or local arrays are too large: no stack is left."
        return Fault("StackOverflow", text, stack)
    if memory_full or _NO_MEMORY.search(said):
        text = f"The function used more than its {memory_mb} MB of memory and was stopped. Raise memory_mb or use less."
        return Fault("OutOfMemory", text, stack)
    if panic := _PANIC.search(said):
        text = f"panicked at {panic['where']}: {panic['what']}"
        cut = f"… (cut: {len(text)} characters)" if len(text) > MAX_ERROR_CHARS else ""
        return Fault("Trap", text[:MAX_ERROR_CHARS] + cut, stack)
    if code in _TRAPS:
        return Fault("Trap", _TRAPS[code] + _last_words(said), stack)
    return Fault("Trap", _cause(str(error)), stack)


def _exited(code: int, said: str) -> Fault:
    return Fault("ProcessExited", f"The program ended with exit code {code}.{_last_words(said)}")


def _last_words(said: str) -> str:
    lines = said.strip().splitlines()
    return f" It said last: {lines[-1][:500]}" if lines else ""


def _cause(message: str) -> str:
    """The line below "Caused by:"."""
    return message.rpartition("Caused by:")[2].strip()[:MAX_ERROR_CHARS] or "The code was stopped."


def frames_of(message: str) -> list[str]:
    """The user's frames of wasmtime's own backtrace, outermost first. Where the module says which lines its code is
    from, those from the user's files; else all that are not of the language's runtime."""
    frames: list[tuple[str, str]] = []
    for line in message.partition("\n\nCaused by:")[0].splitlines():
        if at := _AT.match(line):
            if frames:
                name = frames[-1][0]
                frames[-1] = (name, f'File "{at["file"]}", line {at["line"]}, in {name}')
        elif match := _FRAME.match(line):
            name = _HASH.sub("", match["name"])
            frames.append(("main" if name in ("__original_main", "__main_argc_argv") else name, ""))
    own = [where.replace(f'"{SOURCES}', '"', 1) for _, where in frames if f'"{SOURCES}' in where]
    if not own:
        own = [f"in {name}" for name, where in frames if not _LANGUAGE.match(name) and not where]
    own.reverse()
    if len(own) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        own[half:-half] = [f"… {len(own) - MAX_FRAMES} more frames"]
    return own
