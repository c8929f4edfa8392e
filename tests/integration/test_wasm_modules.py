"""Modules by hand, on every driver: what no compiler makes of its own accord, and a sandbox must stand all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from wasmtime import wat2wasm

from functions.artifacts import tar_of
from functions.runtimes import RUNTIMES
from functions.spec import ArtifactKind, FunctionSpec
from invocations.outcome import LogLine, Outcome, Status
from tests.integration.artifacts import build, job_of, keep
from tests.integration.drivers import DRIVERS, LONG_SEC, boot, call, open_driver
from workers.sandbox import Call, Sandbox, SandboxDriver

WASM = RUNTIMES["wasm"]
WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
# A list of one buffer at 8, of two bytes at 32; another at 16, of six bytes at 40.
DATA = r'(data (i32.const 8) "\20\00\00\00\02\00\00\00\28\00\00\00\06\00\00\00") (data (i32.const 32) "{}")'
SAYS = "(drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))"
MEMORY = '(memory (export "memory") 1)'


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxDriver]:
    with open_driver(request.param, tmp_path_factory.mktemp(request.param)) as driver:
        yield driver


def spec_of(text: str, *, ahead: bytes | None = None, memory_mb: int = 256, **env: str) -> FunctionSpec:
    """Of a module in the text format; `ahead`: what stands for its compiled form."""
    module = bytes(wat2wasm(text))
    if ahead is None:
        result = build(job_of("wasm", "", {"module.wasm": module}))
        assert result.artifact is not None, result
    artifact = tar_of({"module.wasm": module, "module.cwasm": ahead}) if ahead is not None else result.artifact
    assert artifact is not None
    return FunctionSpec(
        function_id="module", function_name="module", version=1, runtime="wasm", handler="handler.main",
        memory_mb=memory_mb, timeout_sec=10, artifact=b"", artifact_sha256="", artifact_kind=ArtifactKind.WASM,
        folder=keep(artifact), env_vars=env,
    )  # fmt: skip


def loaded(driver: SandboxDriver, spec: FunctionSpec) -> Sandbox:
    sandbox = boot(driver, WASM, spec.memory_mb)
    outcome = sandbox.load(spec, time.monotonic() + LONG_SEC)
    assert outcome is None, outcome
    return sandbox


def called(driver: SandboxDriver, spec: FunctionSpec, times: int = 2, timeout_sec: float = LONG_SEC) -> list[Outcome]:
    """So many calls in one sandbox."""
    sandbox = loaded(driver, spec)
    try:
        return [call(sandbox, {}, number, timeout_sec) for number in range(times)]
    finally:
        sandbox.destroy()


def test_a_start_function_runs_at_each_call(driver: SandboxDriver) -> None:
    """Instances are made before they are needed; this one's code may run within a call only."""
    text = f'(module {WRITE} {MEMORY} {DATA} (func $begin {SAYS}) (start $begin) (func (export "_start")))'
    for outcome in called(driver, spec_of(text), 3):
        assert (outcome.status, outcome.output) == (Status.SUCCESS, b"{}"), outcome


def test_a_start_function_that_never_ends_is_timed_out(driver: SandboxDriver) -> None:
    text = f'(module {MEMORY} (func $begin (loop (br 0))) (start $begin) (func (export "_start")))'
    for outcome in called(driver, spec_of(text), 1, timeout_sec=1):
        assert (outcome.status, outcome.error_type) == (Status.TIMEOUT, "Timeout")


def test_a_start_function_that_traps_fails_the_call(driver: SandboxDriver) -> None:
    text = f'(module {MEMORY} (func $begin unreachable) (start $begin) (func (export "_start")))'
    for outcome in called(driver, spec_of(text)):
        assert (outcome.status, outcome.error_type) == (Status.FAILED, "Trap"), outcome


@pytest.mark.parametrize("pages", [4096, 65_536])
def test_a_memory_that_is_too_large_from_the_start(driver: SandboxDriver, pages: int) -> None:
    text = f'(module (memory (export "memory") {pages}) (func (export "_start")))'
    for outcome in called(driver, spec_of(text, memory_mb=128)):
        assert (outcome.status, outcome.error_type) == (Status.FAILED, "OutOfMemory"), outcome
        assert "128 MB" in outcome.error


def test_a_memory_that_grows_is_limited_in_the_sandbox_itself(driver: SandboxDriver) -> None:
    """The module is told that there is no more: nothing is killed."""
    grows = "(if (i32.ne (memory.grow (i32.const 16384)) (i32.const -1)) (then unreachable))"
    text = f'(module {WRITE} {MEMORY} {DATA} (func (export "_start") {grows} {SAYS}))'
    for outcome in called(driver, spec_of(text, memory_mb=128)):
        assert (outcome.status, outcome.output) == (Status.SUCCESS, b"{}"), outcome


MORE_TABLES = "(table 1 funcref)" * 8


@pytest.mark.parametrize("more", ["", MORE_TABLES], ids=["in turns", "needs more than the place"])
def test_nothing_of_a_call_is_there_for_the_next(driver: SandboxDriver, more: str) -> None:
    """Neither where its memory was from the start, nor where it grew to, nor in a table."""
    text = f"""(module {WRITE} {MEMORY} {DATA} (table $t 1 10 funcref) {more} (global $g (mut i32) (i32.const 0))
      (func $f) (elem declare func $f)
      (func $fresh (param i32) (if (local.get 0) (then unreachable)))
      (func (export "_start")
        (call $fresh (i32.load (i32.const 5000)))
        (call $fresh (global.get $g))
        (call $fresh (i32.eqz (ref.is_null (table.get $t (i32.const 0)))))
        (call $fresh (i32.ne (memory.size) (i32.const 1)))
        (drop (memory.grow (i32.const 40)))
        (call $fresh (i32.load (i32.const 2000000)))
        (i32.store (i32.const 5000) (i32.const 7))
        (i32.store (i32.const 2000000) (i32.const 7))
        (global.set $g (i32.const 7))
        (table.set $t (i32.const 0) (ref.func $f))
        {SAYS}))"""
    for outcome in called(driver, spec_of(text), 4):
        assert (outcome.status, outcome.output) == (Status.SUCCESS, b"{}"), outcome


def test_what_was_compiled_ahead_elsewhere_is_compiled_here(driver: SandboxDriver) -> None:
    """By another version, for another processor, or damaged."""
    text = f'(module {WRITE} {MEMORY} {DATA} (func (export "_start") {SAYS}))'
    for outcome in called(driver, spec_of(text, ahead=b"\x7fELF of another kind")):
        assert (outcome.status, outcome.output) == (Status.SUCCESS, b"{}"), outcome


def test_output_after_the_call_is_nobodys(driver: SandboxDriver) -> None:
    """A program that is stopped in the middle of its output: the next call's result is its own."""
    endless = f"(i32.store (i32.const 12) (i32.const 32000)) (loop {SAYS} (br 0))"
    once = '(import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))'
    text = (
        f'(module {WRITE} {once} {MEMORY} {DATA} (func (export "_start") '
        "(drop (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 64)))"
        f"(if (i32.eq (i32.load8_u (i32.const 40)) (i32.const 34)) (then {endless})) {SAYS}))"
    )
    sandbox = loaded(driver, spec_of(text))
    try:
        for number in range(3):
            outcome = call(sandbox, "more", number)
            assert (outcome.status, outcome.error_type) == (Status.FAILED, "ResultTooLarge")
            assert call(sandbox, {}, number).output == b"{}"
    finally:
        sandbox.destroy()


def test_what_a_call_left_unfinished_is_no_part_of_the_next(driver: SandboxDriver) -> None:
    """A piece of a line and a trap: what all calls write into must not keep it."""
    piece = "(i32.store (i32.const 12) (i32.const 1))"
    says_on_stderr = SAYS.replace("(i32.const 1) (i32.const 8)", "(i32.const 2) (i32.const 8)")
    read = '(import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))'
    text = (
        f'(module {WRITE} {read} {MEMORY} {DATA} (func (export "_start") '
        "(drop (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 64)))"
        f"(if (i32.eq (i32.load8_u (i32.const 40)) (i32.const 34)) (then {piece} {SAYS} {says_on_stderr} unreachable))"
        f" {SAYS}))"
    )
    sandbox = loaded(driver, spec_of(text))
    try:
        for number in range(3):
            cut = call(sandbox, "trap", number)
            assert (cut.error_type, [line.text for line in cut.logs]) == ("Trap", ["{"])
            whole = call(sandbox, {}, number)
            assert (whole.output, whole.logs) == (b"{}", ())
    finally:
        sandbox.destroy()


def test_a_panic_is_understood_however_it_is_cut(driver: SandboxDriver) -> None:
    """What a language's runtime says as it gives up may come in pieces."""
    said = r'(data (i32.const 64) "panicked at handler.rs:1:1:\0aboom\0a")'
    pieces = "".join(
        f"(i32.store (i32.const 8) (i32.const {64 + at})) (i32.store (i32.const 12) (i32.const 1)) "
        "(drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 0)))"
        for at in range(len(b"panicked at handler.rs:1:1:\nboom\n"))
    )
    text = f'(module {WRITE} {MEMORY} {said} (func (export "_start") {pieces} unreachable))'
    for outcome in called(driver, spec_of(text)):
        assert (outcome.error_type, outcome.error) == ("Trap", "panicked at handler.rs:1:1: boom"), outcome


def test_output_comes_while_a_long_call_runs(driver: SandboxDriver) -> None:
    """Without a line's end it waits; the line that ends it is what is seen."""
    line = r'(data (i32.const 48) "seen\0a")'
    says = (
        "(i32.store (i32.const 8) (i32.const 48)) (i32.store (i32.const 12) (i32.const 5)) "
        "(drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 0)))"
    )
    text = f'(module {WRITE} {MEMORY} {line} (func (export "_start") {says} (loop (br 0))))'
    sandbox = loaded(driver, spec_of(text))
    seen: list[tuple[float, LogLine]] = []
    began = time.monotonic()
    outcome = sandbox.invoke(
        Call(invocation_id="i", request_id="r"), b"{}", began + 3, lambda one: seen.append((time.monotonic(), one))
    )
    ended = time.monotonic()
    sandbox.destroy()
    assert outcome.status is Status.TIMEOUT
    assert [one.text for _, one in seen] == ["seen"]
    assert ended - seen[0][0] > 1, "it came with the end"


def test_variables_are_the_users_and_the_calls(driver: SandboxDriver, tmp_path: Path) -> None:
    """All of both, in one table."""
    text = (
        '(module (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))'
        f'{WRITE} {MEMORY} {DATA} (func (export "_start")'
        "(drop (call $sizes (i32.const 64) (i32.const 68)))"
        "(i32.store8 (i32.const 32) (i32.add (i32.const 48) (i32.div_u (i32.load (i32.const 64)) (i32.const 10))))"
        "(i32.store8 (i32.const 33) (i32.add (i32.const 48) (i32.rem_u (i32.load (i32.const 64)) (i32.const 10))))"
        f"{SAYS}))"
    )
    spec = spec_of(text, A="1", B="2")
    assert [outcome.output for outcome in called(driver, spec)] == [b"12", b"12"]
    assert [outcome.output for outcome in called(driver, replace(spec, env_vars={}))] == [b"10", b"10"]
