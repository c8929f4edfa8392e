"""The zoo's Go: handlers that stay alive between calls, and programs with a process for each."""

from __future__ import annotations

from dataclasses import replace

from invocations.outcome import Status
from tests.handlers.case import CALL, MB, SPEC, Case, doing

GO = ("go",)
BIG = "ü" * (5 * MB // 2)


def cases() -> list[Case]:
    return [*_good(), *_ends(), *_failures(), *_at_load(), *_programs(), *_program_ends()]


def _good() -> list[Case]:
    does = Case(name="", file="misbehaves", languages=GO)
    typed = Case(name="typed", languages=GO)
    order = {"item": "pen", "count": 2, "unknown": True}
    receipt = {"text": "2 <pen>", "items": ["pen"]}
    return [
        Case(name="echo", events=({"a": [1, None, "ü"]},), outputs=({"a": [1, None, "ü"]},), logs=(), languages=GO),
        Case(name="echo", events=(BIG, 1), outputs=(BIG, 1), languages=GO),
        Case(name="context", outputs=({**CALL, **SPEC, "left": True},), languages=GO),
        Case(name="counter", events=(0, 0, 0), outputs=(1, 2, 3), logs=(), languages=GO),
        Case(name="floods_by_descriptor", outputs=("done",), languages=GO),
        replace(typed, events=(order, {}), outputs=(receipt, None)),
        Case(name="event_only", events=({"n": 3},), outputs=(None,), logs=("stdout: 4",), languages=GO),
        doing(does, "prints", outputs=(None,),
              logs=("stdout: one", "stdout: two", "stdout: three", "stdout: four bytes", "stdout: unfinished")),
        doing(does, "prints_to_stderr", outputs=(None,), logs=("stderr: by the runtime", "stderr: by the package")),
        doing(does, "child_prints", outputs=(1,), logs=("stdout: before", "stdout: from a child", "stdout: after")),
        doing(does, "many_lines", outputs=("done",), logs=tuple(f"stdout: line {n}" for n in range(10_000))),
        doing(does, "prints_later", events=("will_print_later", "prints_later"), outputs=(1, 2),
              logs=("stdout: late",)),
        doing(does, "closes_stdout", events=("closes_stdout", "says"), outputs=(1, 2), logs=("stdout: said",)),
        doing(does, "replaces_stdout", events=("replaces_stdout", "says"), outputs=(1, 2), logs=("stdout: said",)),
        doing(does, "starts_a_survivor", events=("starts_a_survivor", "says"), outputs=(1, 2)),
        doing(does, "unicode", outputs=({"text": "é\U0001f600", "bad": "a\ufffdb", "nul": "\0"},)),
        doing(does, "fills_tmp", outputs=("E(NOSPC|FBIG)",)),
        doing(does, "returns", events=("null", "list", "number", "true", "no_slice"),
              outputs=(None, [1, [2]], 1.5, True, None)),
        doing(does, "recovers", outputs=("bad number 5",)),
    ]  # fmt: skip


def _ends() -> list[Case]:
    """Runs whose process ends, or must be ended."""
    slow = Case(name="", status=Status.TIMEOUT, error_type="Timeout", error="within 1 s", timeout_sec=1,
                survives=False, languages=GO)  # fmt: skip
    does_slowly = replace(slow, file="misbehaves")
    dies = Case(name="", status=Status.FAILED, survives=False, languages=GO)
    does = replace(dies, file="misbehaves")
    panics = replace(does, error_type="panic")
    fatal = replace(does, error_type="fatal error")
    return [
        replace(slow, name="hang", logs=("stdout: waiting",)),
        replace(slow, name="spin", logs=("stdout: spinning",)),
        doing(does_slowly, "spins_in_others", logs=("stdout: spinning",)),
        doing(does_slowly, "endless_output"),
        doing(does_slowly, "endless_line"),
        doing(does_slowly, "fork_bomb", timeout_sec=2, error="within 2 s", logs=("stdout: forking",), memory_mb=1024),
        doing(does, "eats", error_type="OutOfMemory", error="more than its 128 MB", memory_mb=128, timeout_sec=60,
              logs=("stdout: eating",)),
        replace(dies, name="exit_3", error_type="ProcessExited", error="code 3", logs=("stdout: leaving",)),
        # What Go's runtime itself has open is closed too: it may end before it notices that the connection is gone.
        replace(dies, name="closes_descriptors", error_type="ProtocolViolation|ProcessExited", error="closed|code 2"),
        doing(does, "disturbs", error_type="ProtocolViolation", error="disturbed"),
        doing(does, "kills_itself", error_type="ProcessCrashed", error="SIGKILL"),
        doing(does, "aborts", error_type="ProcessExited|ProcessCrashed", error="code 2|SIGABRT"),
        doing(fatal, "reads_outside", error="^fault$", stack=("in Handler", "func")),
        doing(fatal, "recurses", error="stack overflow"),
        doing(fatal, "races", error="concurrent map"),
        doing(panics, "ends_goroutine", error="Goexit"),
        doing(panics, "panics", error="^bad number 3$",
              stack=(r"^handler\.go:\d+, in Handler$", "func", r"^handler\.go:\d+, in inner$")),
        doing(panics, "panics_by_nil", error="nil map"),
        doing(panics, "panics_by_index", error=r"index out of range \[1\] with length 0"),
        doing(panics, "panics_elsewhere", error="^bad number 4$", stack=("handler.go", r"^handler\.go:\d+, in inner$")),
        doing(panics, "panics_with_error", error="can't be shown"),
        doing(panics, "result_panics", error="^not written$"),
    ]  # fmt: skip


def _failures() -> list[Case]:
    """Runs that fail and leave the sandbox well."""
    fails = Case(name="", file="misbehaves", status=Status.FAILED, languages=GO)
    not_json = replace(fails, error_type="ResultNotJson")
    typed = Case(name="typed", status=Status.FAILED, languages=GO)
    return [
        replace(typed, events=({"count": "two"},), error_type="UnmarshalTypeError",
                error=r"does not fit the handler's shop\.Order.*count of type int"),
        replace(typed, events=([],), error_type="UnmarshalTypeError", error="array"),
        replace(typed, events=({"count": -1},), error_type="errorString", error="^bad number$"),
        replace(typed, events=({"item": "ink"},), error_type="OutOfStock", error="^no ink left$"),
        replace(typed, events=({"item": "paper"},), error_type="wrapError", error="^outer: no paper left$",
                stack=("caused by OutOfStock: no paper left",)),
        Case(name="error_only", status=Status.FAILED, error_type="errorString", error="nothing to do", languages=GO),
        doing(fails, "error_shy", error_type="shy", error="can't be shown"),
        doing(fails, "error_giant", error_type="errorString", error=r"m… \(cut: 10000000"),
        doing(fails, "error_strange", error_type="errorString", error="^nul \ufffd bad \ufffd end$"),
        doing(fails, "error_joined", error_type="joinError", error="^a\nb$"),
        doing(not_json, "result_channel", error="chan int"),
        doing(not_json, "result_function", error="func"),
        doing(not_json, "result_nan", error="NaN"),
        doing(not_json, "result_circular", error="cycle"),
        doing(fails, "result_large", events=("result_small", "result_large"), outputs=("small",),
              error_type="ResultTooLarge"),
    ]  # fmt: skip


def _at_load() -> list[Case]:
    """Code that can't be loaded."""
    fails = Case(name="", status=Status.FAILED, at_load=True, survives=False, languages=GO)
    return [
        replace(fails, name="panics_at_init", error_type="panic", error="no settings",
                stack=("init", r"^handler\.go:\d+, in read$")),
        replace(fails, name="exit_at_init", error_type="ProcessExited", error="code 5 before.*loaded"),
        replace(fails, name="wrong_signature", error_type="HandlerSignature", error=r"func Handler\(event T\)"),
        replace(fails, name="hang_at_init", status=Status.TIMEOUT, error_type="Timeout",
                error="finish loading within 5 s", timeout_sec=5, logs=("stdout: loading",)),
    ]  # fmt: skip


def _programs() -> list[Case]:
    does = Case(name="", file="program", languages=GO)
    return [
        Case(name="program", events=(BIG, {"a": [1, None, "ü"]}), outputs=(BIG, {"a": [1, None, "ü"]}), languages=GO),
        doing(does, "counts", events=("counts",) * 3, outputs=(1, 1, 1), logs=()),
        doing(does, "prints", outputs=(None,), logs=("stderr: one", "stderr: two", "stderr: unfinished")),
        doing(does, "environment", outputs=(["blue", "req-1", "7"],)),
        doing(does, "leaves_a_child", events=("leaves_a_child",) * 2, outputs=("left", "left")),
    ]


def _program_ends() -> list[Case]:
    """A program that fails leaves the sandbox well; only a killed one takes it along."""
    fails = Case(name="", file="program", status=Status.FAILED, languages=GO)
    late = replace(fails, status=Status.TIMEOUT, error_type="Timeout", error="within 1 s")
    slow = replace(late, timeout_sec=1, survives=False)
    no_json = replace(fails, error_type="ResultNotJson")
    large = replace(fails, error_type="ResultTooLarge", timeout_sec=30)
    return [
        doing(fails, "exits_3", error_type="ProcessExited", error="code 3.*leaving", logs=("stderr: leaving",)),
        doing(fails, "panics", error_type="panic", error="^boo$",
              stack=("in main", "func", r"^handler\.go:\d+, in inner$")),
        doing(fails, "panics_in_other", error_type="panic", error="^boo$"),
        doing(fails, "deadlocks", error_type="fatal error", error="deadlock"),
        doing(fails, "terminates", error_type="ProcessCrashed", error="SIGKILL", survives=False),
        doing(slow, "hangs", logs=("stderr: waiting",)),
        doing(slow, "logs_endlessly"),
        doing(fails, "eats", error_type="OutOfMemory", error="more than its 128 MB", memory_mb=128, timeout_sec=60,
              logs=("stderr: eating",), survives=False),
        doing(no_json, "result_text", error="not one JSON value.*hello, world"),
        doing(no_json, "result_two", error="not one JSON value"),
        doing(no_json, "result_empty", error="nothing to its standard output"),
        doing(no_json, "result_nan", error="NaN"),
        doing(no_json, "result_bytes", error="not valid JSON|not one JSON value"),
        doing(large, "result_large"),
        doing(large, "result_endless"),
    ]  # fmt: skip
