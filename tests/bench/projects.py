"""A project with a real tree of dependencies: its first deploy, and one of changed code with the same lists."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from tests.bench.figures import Figure
from tests.bench.stack import Stack
from tests.projects import as_archive
from tests.services import wait_until

PYTHON = """
import jinja2, numpy, PIL
def main(event):
    return [jinja2.Template("{{ n }}").render(n=VERSION), float(numpy.ones(3).sum()), PIL.__version__]
"""
NODE = "exports.main = () => [VERSION, typeof require('express')().get];"
MANIFEST = {"name": "web", "version": "1.0.0", "dependencies": {"express": "^4.19.0"}}


@dataclass(frozen=True, slots=True)
class Project:
    """`lists`: what says which packages it needs."""

    title: str
    runtime: str
    file: str
    code: str
    lists: dict[str, str]


PROJECTS = (
    Project(
        "Pillow, Jinja2, numpy", "python3.11", "handler.py", PYTHON, {"requirements.txt": "Jinja2\nnumpy\nPillow\n"}
    ),
    Project("express", "nodejs20", "handler.js", NODE, {"package.json": json.dumps(MANIFEST)}),
)


def figures(stack: Stack) -> list[Figure]:
    """Lines of the table. Needs package indexes."""
    table = []
    for project in PROJECTS:
        first, called = _deploy(stack, project, 1)
        again, called_again = _deploy(stack, project, 2)
        table += [
            Figure(f"{project.title}: deployed and built in", f"{first:.1f} s, first call {called:.0f} ms"),
            Figure(
                f"{project.title}: changed code, same dependencies",
                f"{again:.2f} s, first call {called_again:.0f} ms",
                "≤ 2 s",
                again <= 2,
            ),
        ]
    return table


def _deploy(stack: Stack, project: Project, version: int) -> tuple[float, float]:
    """Seconds until it can be called, and ms of the first call."""
    name = f"bench-project-{project.runtime[:4]}"
    define = "VERSION = {}\n" if project.file.endswith(".py") else "const VERSION = {};\n"
    files = {project.file: define.format(version) + project.code, **project.lists}
    body = {"archive": as_archive(files), "memory_mb": 512}
    began = time.perf_counter()
    if version == 1:
        body |= {"name": name, "runtime": project.runtime, "handler": "handler.main"}
        answer = stack.client.post("/functions", json=body)
    else:
        answer = stack.client.put(f"/functions/{name}", json=body)
    assert answer.status_code in (200, 201), answer.text
    wait_until(lambda: _status(stack, name) not in ("creating", "updating"), 300, f"{name} is built")
    seconds = time.perf_counter() - began
    assert _status(stack, name) == "active", stack.client.get(f"/functions/{name}").text
    began = time.perf_counter()
    called = stack.invoke(name)
    took = (time.perf_counter() - began) * 1000
    assert called.status_code == 200, called.text
    assert str(called.json()["body"][0]) == str(version)
    return seconds, took


def _status(stack: Stack, name: str) -> str:
    status: str = stack.client.get(f"/functions/{name}").json()["status"]
    return status
