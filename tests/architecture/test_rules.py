"""Each rule of the house can fail: planted snippets, good and bad."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from tests.architecture import rules


@pytest.mark.parametrize("path", ["functions/utils.py", "workers/helpers/text.py", "invocations/_common.py"])
def test_a_drawer_is_found(path: str) -> None:
    assert rules.drawer(PurePosixPath(path))


@pytest.mark.parametrize("path", ["functions/services.py", "workers/management/commands/build_runtimes.py"])
def test_a_named_file_is_not(path: str) -> None:
    assert rules.drawer(PurePosixPath(path)) is None


def test_a_long_module_is_found() -> None:
    assert rules.too_long(PurePosixPath("a.py"), "x = 1\n" * (rules.MAX_LINES + 1))
    assert rules.too_long(PurePosixPath("a.py"), "x = 1\n" * rules.MAX_LINES) is None


TASK = "@app.task(name='x')\ndef run(call):\n"


@pytest.mark.parametrize(
    "body",
    [
        "    a()\n" * 6,
        "    try:\n        a()\n    finally:\n        b()\n",
        "    Invocation.objects.get(pk=1)\n",
        "    with transaction.atomic():\n        a()\n",
    ],
)
def test_a_task_with_logic_is_found(body: str) -> None:
    assert list(rules.task_bodies(TASK + body))
    assert list(rules.task_bodies("@shared_task\n" + TASK.split("\n", 1)[1] + body))


@pytest.mark.parametrize(
    "source", [TASK + '    """Why."""\n    executor.run(call)\n', "def run():\n" + "    a()\n" * 9]
)
def test_one_call_is_a_task(source: str) -> None:
    assert list(rules.task_bodies(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "from django.db.models.signals import post_save",
        "from django.dispatch import receiver",
        "import django.db.models.signals",
        "from django.core import signals",
        "from django.core.signals import request_started",
    ],
)
def test_a_signal_is_found(source: str) -> None:
    assert list(rules.signals(source))


@pytest.mark.parametrize(
    "source", ["import signal", "from django.core import management", "from celery import signals"]
)
def test_other_signals_are_none(source: str) -> None:
    assert list(rules.signals(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "class A(models.Model):\n    def save(self, *args): pass",
        "class A(models.Model):\n    def delete(self): pass",
        "class B(models.Manager):\n    pass",
        "class B(QuerySet):\n    pass",
    ],
)
def test_logic_in_a_model_is_found(source: str) -> None:
    assert list(rules.model_methods(source))


def test_a_plain_model_is_not() -> None:
    assert list(rules.model_methods("class A(models.Model):\n    def __str__(self): return ''")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nx = os.environ['A']",
        "import os\nx = os.getenv('A')",
        "from os import environ",
        "from os import getenv as g",
        "def f():\n    import os\n    return os.environ.get('A')",
    ],
)
def test_reading_the_environment_is_found(source: str) -> None:
    assert list(rules.reads_environment(source))


@pytest.mark.parametrize("source", ["import os\nos.getpid()", "x = 'os.environ'", "request.environ"])
def test_other_uses_of_os_are_not(source: str) -> None:
    assert list(rules.reads_environment(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import docker",
        "from docker.errors import NotFound",
        "def f():\n    import docker.types",
        "import_module('docker')",
    ],
)
def test_docker_is_found(source: str) -> None:
    assert list(rules.imports_of(source, "docker"))


@pytest.mark.parametrize(
    "source", ["import dockerfile", "from workers.drivers.docker import DockerDriver", "docker = 1"]
)
def test_what_is_not_docker_is_not(source: str) -> None:
    assert list(rules.imports_of(source, "docker")) == []


@pytest.mark.parametrize(
    "source",
    [
        "invocation.status = Status.SUCCESS",
        "self.invocation.status = 'x'",
        "Invocation.objects.filter(pk=1).update(status='x')",
        "Invocation.objects.create(function=f, status='x')",
        "Invocation(function=f, status='x')",
    ],
)
def test_a_second_writer_of_status_is_found(source: str) -> None:
    assert list(rules.invocation_status_writes(source))


@pytest.mark.parametrize(
    "source",
    ["function.status = 'x'", "Invocation.objects.filter(status='x')", "Build.objects.filter(pk=1).update(status='x')"],
)
def test_another_status_is_not(source: str) -> None:
    assert list(rules.invocation_status_writes(source)) == []


@pytest.mark.parametrize(
    "line", ["django", "django>=5  # why", "django==5.2", "django==5.2  #", "git+https://x  # why"]
)
def test_a_bare_requirement_is_found(line: str) -> None:
    assert list(rules.requirement_lines(line))


@pytest.mark.parametrize("line", ["# words", "", "-r requirements.txt", "psycopg[binary,pool]==3.2.1  # PostgreSQL"])
def test_a_good_requirement_is_not(line: str) -> None:
    assert list(rules.requirement_lines(line)) == []


def test_a_new_top_level_folder_is_found() -> None:
    assert rules.unknown_folders(["lib/a.py", "functions/a.py", "manage.py"]) == {"lib"}
