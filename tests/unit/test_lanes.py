"""The whole suite in lanes: nothing runs twice or never, and what fails in a lane is what the run comes to."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator

import pytest

from nimbus_project.config import ROOT
from tests import lanes
from tests.lanes import ALONE, ENGINE, PHASES, Lane

FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.fixture
def handlers() -> Iterator[None]:
    """This run's own, back again afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def is_below(file: str, paths: tuple[str, ...]) -> bool:
    return any(file == path or file.startswith(f"{path}/") for path in paths)


def test_each_file_is_in_one_lane() -> None:
    all_lanes = [lane for phase in PHASES for lane in phase]
    found = {
        file: [lane.name for lane in all_lanes if is_below(file, lane.paths) and not is_below(file, lane.but)]
        for file in FILES
    }
    assert len(found) > 150
    assert [(file, names) for file, names in found.items() if len(names) != 1] == []


def test_what_lanes_name_is_there() -> None:
    assert [path for path in (*ALONE, *ENGINE) if not (ROOT / path).exists()] == []


def test_one_lane_alone_has_docker() -> None:
    """At a time: images and networks are one for all."""
    asks = re.compile(r'driver="docker"|DockerDriver|open_driver|open_toolchains|missing_images|^import docker', re.M)
    about_it = ("tests/architecture", "tests/unit/test_lanes.py")
    files = [file for file in FILES if not is_below(file, (*ENGINE, *ALONE, *about_it))]
    assert [file for file in files if asks.search((ROOT / file).read_text())] == []


def test_pytest_is_told_what_not_to_run() -> None:
    command = Lane("some", ("tests/unit",), but=("tests/unit/test_lanes.py", "tests/unit/deep")).command()
    assert command[-3:] == ["tests/unit", "--ignore=tests/unit/test_lanes.py", "--ignore=tests/unit/deep"]


class Script(Lane):
    """In place of pytest, which takes seconds to start."""

    def command(self) -> list[str]:
        return [sys.executable, "-S", "-c", *self.paths]


WELL = "print('.. [100%]'); print('2 passed')"
BADLY = "print('FAILED tests/x.py::test_y'); print('1 failed'); raise SystemExit(1)"
KILLED = "import os; os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(
    ("scripts", "code"),
    [
        ((WELL, WELL, WELL), 0),
        ((BADLY, WELL, WELL), 1),
        ((WELL, BADLY, WELL), 1),
        ((WELL, WELL, BADLY), 1),
        ((WELL, "raise SystemExit(7)", BADLY), 7),
        ((WELL, KILLED, WELL), 9),
    ],
)
def test_any_lane_fails_the_run_and_keeps_no_other_from_it(
    capfdbinary: pytest.CaptureFixture[bytes], handlers: None, scripts: tuple[str, ...], code: int
) -> None:
    one, other, last = (Script(name, (script,)) for name, script in zip(("one", "other", "last"), scripts, strict=True))
    assert lanes.main([(one, other), (last,)]) == code
    lines = capfdbinary.readouterr().out.splitlines()
    assert len([line for line in lines if b" : exit code " in line]) == 3
    for end in (b" | 2 passed", b" : 2 passed"):
        assert len([line for line in lines if line.endswith(end)]) == scripts.count(WELL)
    assert lines.count(b"  last | FAILED tests/x.py::test_y") == lines.count(b"  last : FAILED tests/x.py::test_y")
    assert len([line for line in lines if b" : FAILED " in line]) == scripts.count(BADLY)


def test_a_run_that_is_ended_ends_its_lanes_and_begins_no_other(
    capfdbinary: pytest.CaptureFixture[bytes], handlers: None
) -> None:
    waits = "import time; print('waits', flush=True); time.sleep(100)"
    ends = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(100)"
    assert lanes.main([(Script("one", (waits,)), Script("other", (ends,))), (Script("never", (WELL,)),)]) == 2
    said = capfdbinary.readouterr().out
    assert said.count(b": exit code -15 after") == 2
    assert b"never" not in said
