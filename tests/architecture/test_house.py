"""The tree keeps to the rules of the house. A complaint names the file and what to do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import pytest

from nimbus_project.config import ROOT
from tests.architecture import rules

APPLICATION = ("nimbus_project", "accounts", "functions", "invocations", "workflows", "triggers", "workers")
NAMED_BY_DJANGO = "management/commands"

# Who may read the environment beside nimbus_project/config.py, and why.
READS_ENVIRONMENT = {
    "nimbus_project/config.py": "the only reader of settings",
    "nimbus_project/asgi.py": "entrance: names the settings module before Django loads",
    "workers/celery.py": "entrance: the same",
    "manage.py": "entrance: the same",
    "nimbus_project/supervisor/child.py": "hands its own environment on to the parts it starts",
    "workers/drivers/process_go.py": "hands PATH and HOME on to the toolchain it starts",
    "workers/drivers/process_wasm.py": "hands PATH on to the compilers it starts",
}
# All of it runs inside sandboxes, where there is no Config.
RUNNERS = "workers/runtimes/"
KNOWS_DOCKER = "workers/drivers/docker/"
WRITES_STATUS = {
    "invocations/lifecycle.py": "the only writer of status",
    "invocations/ledger.py": "writes synchronous runs that have ended: rows that are new and terminal",
}


def sources(*folders: str) -> list[Path]:
    """Python files of these folders, without migrations."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if "migrations" not in path.parts and "node_modules" not in path.parts)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def complaints(paths: Iterable[Path], rule: Callable[[str], Iterable[str]]) -> list[str]:
    return [f"{name(path)}: {complaint}" for path in paths for complaint in rule(path.read_text())]


def test_no_drawers() -> None:
    paths = [PurePosixPath(name(path)) for path in sources(*APPLICATION, "tests")]
    assert [told for path in paths if (told := rules.drawer(path))] == []


def test_modules_stay_small() -> None:
    # The runner is one file by contract: it is sent into an image that has nothing else.
    paths = [path for path in sources(*APPLICATION) if "runtimes" not in path.parts]
    assert [told for path in paths if (told := rules.too_long(PurePosixPath(name(path)), path.read_text()))] == []


def test_task_bodies_are_one_call() -> None:
    assert complaints([ROOT / "workers" / "tasks.py"], rules.task_bodies) == []


def test_tasks_are_registered_in_one_file() -> None:
    def registered(source: str) -> list[str]:
        return [line for line in source.splitlines() if line.startswith(("@app.task", "@shared_task"))]

    others = [path for path in sources(*APPLICATION) if name(path) != "workers/tasks.py"]
    assert complaints(others, registered) == []


def test_no_django_signals() -> None:
    assert complaints(sources(*APPLICATION), rules.signals) == []


def test_no_logic_in_models() -> None:
    paths = [path for path in sources(*APPLICATION) if path.stem == "models" or "models" in path.parts]
    assert paths
    assert complaints(paths, rules.model_methods) == []


def test_one_reader_of_the_environment() -> None:
    outside = [path for path in sources(*APPLICATION) if not name(path).startswith(RUNNERS)]
    paths = [path for path in [ROOT / "manage.py", *outside] if name(path) not in READS_ENVIRONMENT]
    assert complaints(paths, rules.reads_environment) == []


@pytest.mark.parametrize("path", READS_ENVIRONMENT)
def test_the_allow_list_is_not_longer_than_needed(path: str) -> None:
    if path != "nimbus_project/config.py":  # reads it through pydantic-settings
        assert list(rules.reads_environment((ROOT / path).read_text())), f"{path} need not be on the list"


def test_one_folder_knows_docker() -> None:
    paths = [path for path in sources(*APPLICATION) if not name(path).startswith(KNOWS_DOCKER)]
    assert complaints(paths, lambda source: rules.imports_of(source, "docker")) == []


def test_one_writer_of_status() -> None:
    paths = [path for path in sources(*APPLICATION) if name(path) not in WRITES_STATUS]
    assert complaints(paths, rules.invocation_status_writes) == []


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_pinned_and_explained(file: str) -> None:
    assert list(rules.requirement_lines((ROOT / file).read_text())) == []


def test_no_new_top_level_folders() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("other: not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert rules.unknown_folders(listed.splitlines()) == set()
