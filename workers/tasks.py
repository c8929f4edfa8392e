"""Every task body: one call each. Names are those of `nimbus_project.core.queue.Task`."""

from __future__ import annotations

from typing import Any

from functions import rollouts
from nimbus_project.core.queue import Task
from workers import builder, executor, queued, reaper
from workers.celery import app
from workers.worker import current


@app.task(name=str(Task.RUN_CALL))
def run_call(call: dict[str, Any], event: str) -> None:
    executor.run_call(current(), call, event)


@app.task(name=str(Task.RUN_INVOCATION))
def run_invocation(function_id: str) -> None:
    queued.wake(current(), function_id)


@app.task(name=str(Task.BUILD))
def build(task_id: str) -> None:
    builder.run_build(current(), task_id)


@app.task(name=str(Task.COMPILE))
def compile_source() -> None:
    builder.run_compile(current())


@app.task(name=str(Task.SWEEP))
def sweep() -> None:
    reaper.sweep()


@app.task(name=str(Task.ROLLOUTS))
def advance_rollouts() -> None:
    rollouts.advance_all()
