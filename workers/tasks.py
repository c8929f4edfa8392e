"""Every task body: one call each. Names are those of `nimbus_project.core.queue.Task`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.utils import timezone

from functions import leftovers, rollouts
from nimbus_project.core.queue import Task
from triggers import alert_evaluation, fan_out, firing, notifications, retention
from workers import builder, executions, executor, queued, reaper, reports
from workers.celery import app
from workers.worker import current


@app.task(name=str(Task.RUN_CALL))
def run_call(call: dict[str, Any], event: str) -> None:
    executor.run_call(current(), call, event)


@app.task(name=str(Task.RUN_INVOCATION))
def run_invocation(function_id: str) -> None:
    queued.wake(current(), function_id)


@app.task(name=str(Task.REPORT))
def report(function_id: str) -> None:
    reports.wake(current(), function_id)


@app.task(name=str(Task.ADVANCE))
def advance_execution(execution_id: str) -> None:
    executions.wake(current(), execution_id)


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


@app.task(name=str(Task.TICK))
def tick() -> None:
    firing.tick(timezone.now())


@app.task(name=str(Task.RETENTION))
def go_on_pruning(older_than_days: int | None = None, tables: Collection[str] = retention.NAMES) -> None:
    retention.go_on(older_than_days, tables)


@app.task(name=str(Task.LEFTOVERS))
def drop_leftovers() -> None:
    leftovers.drop_all()


@app.task(name=str(Task.FAN_OUT))
def fan_out_events(_subject: str) -> None:
    fan_out.run_woken()


@app.task(name=str(Task.ALERTS))
def evaluate_alerts() -> None:
    alert_evaluation.evaluate_all(timezone.now())


@app.task(name=str(Task.NOTIFY))
def notify(_subject: str) -> None:
    notifications.run_woken()
