"""`python -m tests.lanes`: the whole suite. On two processors most of its time was waiting; so tests that wait for
containers and compilers run beside those that don't, and only then, alone, those that hold the platform to a time.

Each lane is a pytest of its own, with servers, folders and platforms of its own. What two of them would share, Docker's
images and networks, one lane has to itself: ENGINE. Lanes are lists of paths: nothing is handed out while they run, and
what is in no list runs in the lane REST, so that no test can get lost.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

from nimbus_project.config import ROOT
from nimbus_project.supervisor.tether import tether

ALONE = (
    # These hold what they see to a bound, or make load for as long as it takes.
    "tests/integration/test_authentication.py",
    "tests/integration/test_secrets.py",
    "tests/docker/test_driver.py",
    "tests/acceptance/test_chaos.py",
    "tests/acceptance/test_durable.py",
    "tests/acceptance/test_fairness.py",
    "tests/acceptance/test_fleet.py",
    "tests/acceptance/test_limits_and_secrets.py",
    "tests/acceptance/test_traffic.py",
)
ENGINE = (
    # Containers and compilers.
    "tests/docker",
    "tests/integration/test_driver_conformance.py",
    "tests/integration/test_go_builds.py",
    "tests/integration/test_wasm_builds.py",
    "tests/integration/test_wasm_modules.py",
    "tests/acceptance/test_examples.py",
    "tests/acceptance/test_go.py",
    "tests/acceptance/test_own_answer.py",
    "tests/acceptance/test_platform_parts.py",
    "tests/acceptance/test_projects.py",
    "tests/acceptance/test_wasm.py",
    # Needs neither; so that both lanes are equally long.
    "tests/integration/test_schemathesis.py",
)
REST = ("tests",)

_FAILURE = re.compile(rb"(\x1b\[\d+m)*(FAILED|ERROR) ")
PYTEST_STOPPED = 2
"""Exit code after Ctrl-C (docs.pytest.org, "Exit codes")."""


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    paths: tuple[str, ...]
    but: tuple[str, ...] = ()
    """Of these paths what other lanes have."""

    def command(self) -> list[str]:
        ignored = [f"--ignore={path}" for path in self.but]
        # Else they would write the same file at their end.
        own = ["-o", f"cache_dir=.pytest_cache/{self.name}"]
        colour = ["--color=yes"] if sys.stdout.isatty() else []
        return [sys.executable, "-m", "pytest", *own, *colour, *self.paths, *ignored]


PHASES = (
    (Lane("rest", REST, but=(*ENGINE, *ALONE)), Lane("engine", ENGINE, but=ALONE)),
    (Lane("alone", ALONE),),
)


@dataclass
class Run:
    """A lane under way. Its lines are shown as they come, each with the lane's name before it."""

    lane: Lane
    began: float = field(default_factory=time.monotonic)

    told: list[str] = field(default_factory=list)
    """What failed, as pytest's summary says it, and its last line."""

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            self.lane.command(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=tether(signal.SIGTERM),
        )
        self._reader = threading.Thread(target=self._show, name=self.lane.name)
        self._reader.start()

    def _show(self) -> None:
        assert self.process.stdout is not None
        last = b""
        with self.process.stdout as output:
            for last in output:
                # In one piece, so that lanes never share a line.
                sys.stdout.buffer.write(f"{self.lane.name:>6} | ".encode() + last)
                sys.stdout.buffer.flush()
                if _FAILURE.match(last):
                    self.told.append(last.decode(errors="replace").rstrip())
        self.told.append(last.decode(errors="replace").rstrip())

    def wait(self) -> int:
        """Its exit code."""
        code = self.process.wait()
        self._reader.join()
        self.told.append(f"exit code {code} after {time.monotonic() - self.began:.0f} s")
        return code


def main(phases: Sequence[Sequence[Lane]] = PHASES) -> int:
    """Zero when every lane's exit code is. What fails in one lane keeps no other from being run; a signal does."""
    runs: list[Run] = []
    signalled = threading.Event()

    def end(number: int, _: FrameType | None) -> None:
        signalled.set()
        # A terminal's Ctrl-C goes to all of its processes: again, it would cut their clearing up short.
        if number == signal.SIGTERM:
            _terminate(runs)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    codes: list[int] = []
    for phase in phases:
        if signalled.is_set():
            break
        started = [Run(lane) for lane in phase]
        runs += started
        if signalled.is_set():
            _terminate(started)
        codes += [run.wait() for run in started]
    for run in runs:
        print("\n".join(f"{run.lane.name:>6} : {line}" for line in run.told))
    return PYTEST_STOPPED if signalled.is_set() else max(abs(code) for code in codes)


def _terminate(runs: Sequence[Run]) -> None:
    """pytest tears down what it has started; see `tests.conftest`."""
    for run in runs:
        if run.process.poll() is None:
            run.process.terminate()


if __name__ == "__main__":
    sys.exit(main())
