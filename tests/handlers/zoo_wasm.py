"""The zoo's Rust and C: programs and libraries for WebAssembly. Every call has an instance of its own."""

from __future__ import annotations

from dataclasses import replace

from invocations.outcome import Status
from tests.handlers.case import CALL, MB, SPEC, Case, doing

RS, C, RS_C = ("rust",), ("c",), ("rust", "c")
BIG = "ü" * (5 * MB // 2)


def cases() -> list[Case]:
    return [*_programs(), *_program_ends(), *_libraries()]


def _programs() -> list[Case]:
    """Nothing but stdin, stdout, the environment and a /tmp."""
    does = Case(name="", file="misbehaves", languages=RS_C)
    alone = {"reads": [], "writes": [], "connects": False}
    return [
        Case(name="echo", events=({"a": [1, None, "ü"]},), outputs=({"a": [1, None, "ü"]},), logs=(), languages=RS_C),
        Case(name="echo", events=(BIG, 1), outputs=(BIG, 1), languages=RS_C),
        Case(name="context", outputs=({**CALL, **SPEC, "left": True},), languages=RS_C),
        Case(name="counter", events=(0, 0, 0), outputs=(1, 1, 1), logs=(), languages=RS_C),
        Case(name="prints", outputs=(None,), logs=("stderr: one", "stderr: three", "stderr: unfinished"),
             languages=RS_C),
        doing(does, "many_lines", outputs=("done",), logs=tuple(f"stderr: line {n}" for n in range(10_000))),
        replace(does, name="floods_by_descriptor", events=("floods",), outputs=("done",)),
        doing(does, "keeps_in_tmp", events=("keeps_in_tmp",) * 3, outputs=(0, 1, 2)),
        doing(does, "looks_around", outputs=(alone,), languages=RS),
        doing(does, "looks_around", outputs=([0, 0],), languages=C),
        doing(does, "fills_tmp", outputs=("E(NOSPC|FBIG)",), languages=C),
        doing(does, "exits_0", outputs=("left|done",)),
    ]  # fmt: skip


def _program_ends() -> list[Case]:
    """Programs that fail. The sandbox serves on, unless it hangs in a call to the host."""
    fails = Case(name="", file="misbehaves", status=Status.FAILED, languages=RS_C)
    trap = replace(fails, error_type="Trap")
    slow = replace(fails, status=Status.TIMEOUT, error_type="Timeout", error="within 1 s", timeout_sec=1)
    memory = replace(fails, error_type="OutOfMemory", error="more than its 128 MB", memory_mb=128, timeout_sec=60)
    deep = replace(fails, error_type="StackOverflow", error="too deeply")
    no_json = replace(fails, error_type="ResultNotJson")
    large = replace(fails, error_type="ResultTooLarge", error="larger than the", timeout_sec=30)
    return [
        doing(slow, "hang", logs=("stderr: waiting",), survives=False),
        doing(slow, "spin", logs=("stderr: spinning",), survives=None),
        doing(slow, "logs_endlessly", survives=None),
        doing(slow, "logs_endlessly_without_newline", survives=None),
        doing(memory, "eats"),
        doing(memory, "eats_at_once", languages=RS),
        doing(deep, "recurses"),
        doing(deep, "recurses_lightly", languages=C),
        doing(trap, "panics", error=r"^panicked at handler\.rs:\d+:5: bad number 3$", stack=("main", "inner"),
              languages=RS),
        doing(trap, "panics", error="gave up.*It said last: bad number 3",
              stack=(r'^File "handler\.c", line \d+, in main$', "in fails", r"line \d+, in inner$"), languages=C),
        doing(trap, "panics_at_length", error="m{1000}", languages=RS),
        doing(trap, "divides_by_zero", error="divide by zero", languages=RS),
        doing(trap, "divides_by_zero", error="divided an integer by zero", stack=("in main", "in fails"), languages=C),
        doing(trap, "unreachable", error="unreachable"),
        doing(trap, "aborts", error="gave up"),
        doing(trap, "reads_outside", error="outside of its memory", languages=C),
        doing(trap, "calls_nothing", error="points to none", languages=C),
        doing(trap, "calls_wrong_type", error="of another type|gave up", languages=C),
        doing(fails, "exits_3", error_type="ProcessExited", error="code 3.*leaving", logs=("stderr: leaving",)),
        doing(fails, "returns_4", error_type="ProcessExited", error="code 4", languages=C),
        doing(no_json, "result_text", error="not JSON.*to stderr"),
        doing(no_json, "result_two", error="not JSON.*line 2"),
        doing(no_json, "result_nan", error="NaN"),
        doing(no_json, "result_empty", error="nothing to stdout"),
        doing(no_json, "result_bytes", error="not JSON"),
        doing(large, "result_large"),
        doing(large, "result_endless"),
    ]  # fmt: skip


def _libraries() -> list[Case]:
    """`alloc` and `handle`."""
    does = Case(name="", file="library", languages=RS_C)
    fails = replace(does, status=Status.FAILED)
    slow = replace(fails, status=Status.TIMEOUT, error_type="Timeout", error="within 1 s", timeout_sec=1)
    printed = ("stdout: out", "stderr: err")
    events = (BIG, {"a": [1, None, "ü"]})
    return [
        replace(does, name="library_echo", events=events, outputs=events, logs=()),
        doing(does, "counts", events=("counts",) * 3, outputs=(1, 1, 1)),
        doing(does, "prints", outputs=("prints",), logs=printed, languages=RS),
        doing(does, "prints", outputs=("prints",), logs=(*printed, "stdout: unfinished"), languages=C),
        doing(slow, "spin", survives=None),
        doing(fails, "panics", error_type="Trap", error="panicked at handler.rs.*bad event", stack=("handle",),
              languages=RS),
        doing(fails, "panics", error_type="Trap", error="gave up", stack=(r'"handler\.c", line \d+, in handle',),
              languages=C),
        doing(fails, "exits_0", error_type="ProcessExited", error="instead of returning"),
        doing(fails, "exits_3", error_type="ProcessExited", error="code 3"),
        doing(fails, "points_outside", error_type="WrongPointer", error="10 bytes at 4294901760"),
        doing(fails, "result_empty", error_type="ResultNotJson", error="empty"),
        doing(fails, "result_text", error_type="ResultNotJson", error="not JSON"),
        doing(fails, "result_large", error_type="ResultTooLarge"),
    ]  # fmt: skip
