"""What each handler of the zoo must come to, on every driver."""

from __future__ import annotations

from dataclasses import replace

from invocations.outcome import Status
from tests.handlers import zoo_go, zoo_wasm
from tests.handlers.case import ANY, BY_LANGUAGE, CALL, COMPILED, ENV, MB, SPEC, Case

__all__ = ["ANY", "BY_LANGUAGE", "CALL", "CASES", "COMPILED", "ENV", "SPEC", "Case", "find"]

PY, JS = ("python",), ("node",)


def _good() -> list[Case]:
    big = "ü" * (5 * MB // 2)
    return [
        Case(name="echo", events=({"a": [1, None, "ü"]},), outputs=({"a": [1, None, "ü"]},), logs=()),
        Case(name="echo", events=(big, 1), outputs=(big, 1)),
        Case(name="echo_es_module", events=({"a": 1},), outputs=({"a": 1, "base": "b"},), languages=JS),
        Case(name="es_module_default", events=(1,), outputs=(1,), languages=JS),
        Case(name="es_module_awaits", events=(1, 2), outputs=("ready", "ready"), languages=JS),
        Case(name="callable_object", events=(1,), outputs=([1, 2],), languages=PY),
        Case(name="context", outputs=({**CALL, **SPEC, "left": True},)),
        Case(name="asynchronous", events=(1, 2), outputs=({"loops": 1, "event": 1}, {"loops": 1, "event": 2})),
        Case(
            name="prints",
            outputs=(None,),
            logs=("stdout: one", "stderr: two", "stdout: three", "stdout: four bytes", "stdout: unfinished"),
        ),
        Case(
            name="prints_by_descriptor",
            outputs=(1,),
            logs=("stdout: before", "stdout: written", "stdout: from a child", "stdout: after", "stderr: last"),
        ),
        Case(
            name="unicode",
            events=({"text": "é"},),
            outputs=({"text": "é\U0001f600", "lone": "a\ufffdb", "nul": "\0", "escaped": "\\ud800"},),
        ),
        Case(name="counter", events=(0, 0, 0), outputs=(1, 2, 3), logs=()),
        Case(
            name="returns",
            events=("null", "list", "number", "string", "true"),
            outputs=(None, [1, [2]], 1.5, "text", True),
        ),
        Case(name="prints_after_the_call", events=(1, 2), outputs=(1, 2), logs=("stdout: late",)),
        Case(name="many_lines", outputs=("done",), logs=tuple(f"stdout: line {n}" for n in range(10_000))),
        Case(name="replaces_stdout", events=(1, 2), outputs=(1, 2), logs=("stdout: said 2",), languages=PY),
        Case(name="replaces_stdout", events=(1, 2), outputs=(1, 2), languages=JS),
        Case(name="closes_stdout", events=(1, 2), outputs=(1, 2), logs=("stdout: said 2",)),
        Case(
            name="takes_over_files",
            events=(1, 2, 3),
            outputs=([True, []],) * 3,
            logs=(),
            languages=JS,
        ),
        Case(name="forks_a_survivor", events=("pid", 2), outputs=(ANY, ANY)),
        Case(
            name="fork_returns_too",
            events=(1, 2),
            outputs=("parent", "parent"),
            logs=("stdout: child",),
            languages=PY,
        ),
        Case(name="fills_tmp", outputs=("E(NOSPC|FBIG)",)),
        Case(name="floods_by_descriptor", outputs=("done",)),
    ]


def _ends() -> list[Case]:
    """Runs whose process ends, or must be ended."""
    slow = Case(name="", status=Status.TIMEOUT, error_type="Timeout", error="within 1 s", timeout_sec=1, survives=False)
    dies = Case(name="", status=Status.FAILED, survives=False)
    exited = replace(dies, error_type="ProcessExited")
    crashed = replace(dies, error_type="ProcessCrashed")
    memory = replace(dies, error_type="OutOfMemory", error="more than its 128 MB", memory_mb=128, timeout_sec=60)
    return [
        replace(slow, name="hang", logs=("stdout: waiting",)),
        replace(
            slow, name="hang_at_import", at_load=True, error="finish loading within 1 s", logs=("stdout: loading",)
        ),
        replace(slow, name="hang_async", logs=("stdout: waiting",), languages=PY),
        replace(slow, name="never_resolves", logs=("stdout: waiting",), languages=JS),
        replace(slow, name="spin", logs=("stdout: spinning",)),
        replace(slow, name="fork_bomb", timeout_sec=2, error="within 2 s", logs=("stdout: forking",), memory_mb=1024),
        replace(memory, name="out_of_memory", logs=("stdout: eating",)),
        replace(exited, name="exit_3", error="code 3", logs=("stdout: leaving",)),
        replace(exited, name="exit_at_import", error="code 5", at_load=True),
        replace(exited, name="sys_exit", error="code 4", languages=PY),
        replace(exited, name="sys_exit_with_text", error="code 1", logs=("stderr: no more",), languages=PY),
        replace(crashed, name="segfault", error="SIGSEGV"),
        replace(crashed, name="abort", error="SIGABRT"),
        replace(dies, name="closes_descriptors", error_type="ProtocolViolation", error="closed"),
        replace(dies, name="writes_to_socket", error_type="ProtocolViolation", error="disturbed"),
        replace(dies, name="unhandled_rejection", error_type="RangeError", error="nobody listens", languages=JS),
        replace(dies, name="uncaught_in_timer", error_type="RangeError", error="from a timer", languages=JS),
        replace(slow, name="endless_output", error_type="Timeout"),
        replace(slow, name="endless_output_without_newline", error_type="Timeout"),
    ]


def _failures() -> list[Case]:
    """Runs that fail and leave the sandbox well, and code that can't be loaded."""
    fails = Case(name="", status=Status.FAILED)
    not_json = replace(fails, error_type="ResultNotJson")
    large = replace(fails, name="huge_result", error_type="ResultTooLarge", memory_mb=512)
    unloadable = replace(fails, at_load=True, survives=False)
    return [
        replace(large, events=("small", "text"), outputs=("small",), memory_mb=192),
        replace(large, events=("small", "list"), outputs=("small",)),
        replace(not_json, name="result_set", error="set", languages=PY),
        replace(not_json, name="result_bytes", error="bytes", languages=PY),
        replace(not_json, name="result_tuple_key", error="tuple", languages=PY),
        replace(not_json, name="result_nan", error="NaN", languages=PY),
        replace(not_json, name="result_circular", error="itself|circular"),
        replace(not_json, name="result_bigint", error="BigInt", languages=JS),
        replace(not_json, name="result_function", error="function", languages=JS),
        replace(not_json, name="result_deep", error="deep"),
        replace(fails, name="raises", events=({"number": 3},), error_type="ValueError|RangeError",
                error="^bad number 3$", stack=(r"main|handler\.js:5", r"inner")),
        replace(fails, name="raises_own_class", error_type="OutOfStock", error="^none left$", stack=("main",)),
        replace(fails, name="raises_nested", error_type="RuntimeError|Error", error="^outer$",
                stack=("main", "caused by (KeyError|TypeError)", "main")),
        replace(fails, name="raises_giant_message", error_type="ValueError|TypeError", error=r"m… \(cut: 10000000"),
        replace(fails, name="raises_strange_text", error_type="ValueError|TypeError",
                error="^nul \ufffd lone \ufffd end$"),
        replace(fails, name="raises_unprintable", error_type="Shy", error="can't be shown"),
        replace(fails, name="interrupts", error_type="KeyboardInterrupt", languages=PY),
        replace(fails, name="throws_text", error_type="String", error="^just text$", languages=JS),
        replace(fails, name="throws_nothing", error_type="undefined", error="^undefined$", languages=JS),
        replace(fails, name="deep_recursion", error_type="RecursionError|RangeError", error="recursion|call stack"),
        replace(unloadable, name="syntax_error", error_type="SyntaxError", error=r"handler\.(py|js), line \d"),
        replace(unloadable, name="missing_handler", error_type="HandlerNotFound", error='named .main.*: mian'),
        replace(unloadable, name="missing_module", error_type="ModuleNotFound", error="no.such.package.*packaged with"),
        replace(unloadable, name="wrong_arity", error_type="HandlerSignature", error=r"main\(event, context\)",
                languages=PY),
        replace(unloadable, name="no_arguments", error_type="HandlerSignature", error=r"main\(event\)", languages=PY),
        replace(unloadable, name="raises_at_import", error_type="LookupError|RangeError", error="^no settings$",
                stack=("handler",)),
    ]  # fmt: skip


ALL = (*_good(), *_ends(), *_failures(), *zoo_wasm.cases(), *zoo_go.cases())
CASES = [replace(case, language=language) for case in ALL for language in case.languages]


def find(language: str, name: str) -> Case:
    """The first case of that handler."""
    return next(case for case in CASES if case.language == language and case.name == name)
