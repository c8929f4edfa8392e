"""What is made with a machine's Go is left alone when its worker ends: here with a Go that takes its time."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest

from tests.services import wait_until
from workers.drivers import process_go
from workers.drivers.process_go import GoMissing, GoWorkshop


@pytest.fixture
def slow_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toolchain that compiles for ever, with a compiler beside it as the real one has."""
    root = tmp_path / "goroot"
    (root / "bin").mkdir(parents=True)
    (root / "src").mkdir()
    (root / "VERSION").write_text("go1.24")
    (root / "bin" / "go").write_text("#!/bin/sh\nsleep 1000 &\nsleep 1000\n")
    (root / "bin" / "go").chmod(0o755)
    monkeypatch.setattr(process_go, "find_goroot", lambda: root)
    return tmp_path


def compilers() -> list[psutil.Process]:
    """What this process has started in the folder of the runner's source."""
    return [one for one in psutil.Process().children(recursive=True) if one.cwd() == str(process_go.RUNNER_SOURCE)]


def _ended(process: psutil.Process) -> bool:
    """Zombies included, which wait only for init."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_compile_under_way_ends_with_its_worker(slow_go: Path) -> None:
    heard: list[str] = []

    def ask() -> None:
        with pytest.raises(GoMissing, match="could not be compiled") as error:
            _ = GoWorkshop(slow_go / "var").runner
        heard.append(str(error.value))

    asker = threading.Thread(target=ask)
    asker.start()
    wait_until(lambda: len(compilers()) == 3, what="go and its compilers")
    begun = compilers()
    process_go.end_compiling()
    asker.join(20)
    assert heard and not asker.is_alive()
    wait_until(lambda: all(_ended(one) for one in begun), what="the end of go and its compiler")
    assert [path.name for path in (slow_go / "var" / "cache" / "go").iterdir()] == ["home"], "nothing half made stays"
