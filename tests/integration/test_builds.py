"""A build from its row to its end, with a builder that does as the test says: live output, failures, lost workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from functions import artifacts, builds
from functions.artifacts import tar_of
from functions.models import BuildStatus, BuildTask, Function, FunctionVersion
from functions.spec import MAX_ARTIFACT_BYTES
from nimbus_project.config import Config
from nimbus_project.core.ids import new_id
from tests.integration.plane import Api, wait_until
from workers import builder
from workers.toolchain import BuildError, BuildJob, BuildResult, LineSink

GO = "package main\n\nfunc main() {{}} // {}\n"
Work = Callable[[BuildJob, LineSink], BuildResult]


class Toolchains:
    """Runs what it is given in place of a builder."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.jobs: list[BuildJob] = []

    def build(self, job: BuildJob, on_line: LineSink, deadline: float) -> BuildResult:
        self.jobs.append(job)
        return self.work(job, on_line)

    def close(self) -> None:
        """Nothing runs."""


def worker_with(work: Work, *, parallel: int = 1) -> Any:
    """As much of a worker as a build needs."""
    return SimpleNamespace(
        id=f"worker-{new_id()}",
        settings=Config(),
        toolchains=Toolchains(work),
        build_slots=threading.BoundedSemaphore(parallel),
        draining=threading.Event(),
        builds={},
    )


def program(job: BuildJob, on_line: LineSink) -> BuildResult:
    """A build that succeeds; its artifact differs from source to source."""
    return BuildResult(artifact=tar_of({"main": b"".join(job.files.values()), "nimbus.json": b'{"form":"program"}'}))


def create(api: Api, name: str = "built", code: str = "", **more: Any) -> tuple[dict[str, Any], str]:
    """The function and the id of its task."""
    body = {"name": name, "runtime": "go1.24", "handler": "handler.main", "code": code or GO.format(new_id())} | more
    answer = api.post("/functions", body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made, made.get("task_id", "")


def task(api: Api, task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/tasks/{task_id}").json()["task"]
    return found


def state(api: Api, name: str = "built") -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/functions/{name}").json()
    return found


def test_from_creating_to_active(api: Api) -> None:
    made, task_id = create(api)
    assert (made["status"], task(api, task_id)["status"]) == ("creating", "pending")
    worker = worker_with(program)
    builder.run_build(worker, task_id)
    assert (state(api)["status"], state(api)["version"]) == ("active", 1)
    assert task(api, task_id)["status"] == "succeeded"
    (job,) = worker.toolchains.jobs
    assert list(job.files) == ["handler.go"]
    assert (job.network, job.toolchain) == (False, "go")


def test_output_is_there_while_it_runs(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "TELL_EVERY_SEC", 0.0)
    _, task_id = create(api)
    said, go_on = threading.Event(), threading.Event()

    def slowly(job: BuildJob, on_line: LineSink) -> BuildResult:
        on_line("compiling handler.go")
        said.set()
        assert go_on.wait(30)
        on_line("linking\0")
        return program(job, on_line)

    def run() -> None:
        try:
            builder.run_build(worker_with(slowly), task_id)
        finally:
            connections.close_all()

    running = threading.Thread(target=run)
    running.start()
    assert said.wait(30)
    now = task(api, task_id)
    assert (now["status"], now["output"]) == ("running", "compiling handler.go")
    go_on.set()
    running.join(30)
    assert task(api, task_id)["output"] == "compiling handler.go\nlinking\ufffd"


def test_a_failed_update_keeps_the_old_version(api: Api) -> None:
    _, task_id = create(api)
    builder.run_build(worker_with(program), task_id)
    changed = api.put("/functions/built", {"code": "package main\n\nfunc main() { x }\n"}).json()
    assert (changed["status"], changed["version"]) == ("updating", 1)

    def fails(job: BuildJob, on_line: LineSink) -> BuildResult:
        on_line("handler.go:3:15: undefined: x")
        return BuildResult(artifact=None)

    builder.run_build(worker_with(fails), changed["task_id"])
    found = state(api)
    assert (found["status"], found["version"]) == ("active", 1)
    assert found["status_message"] == "The build of version 2 failed: handler.go:3:15: undefined: x"
    failed = task(api, changed["task_id"])
    assert (failed["status"], failed["error"]) == ("failed", "handler.go:3:15: undefined: x")
    assert not FunctionVersion.objects.get(version=2).is_ready


def fails(job: BuildJob, on_line: LineSink) -> BuildResult:
    return BuildResult(artifact=None, error="no such thing")


def test_a_change_after_a_failed_update_starts_from_what_serves(api: Api) -> None:
    """And the same source sent again is built again."""
    made, task_id = create(api)
    builder.run_build(worker_with(program), task_id)
    wrong = {"code": "package main\n\nfunc main() { x }\n", "memory_mb": 512}
    builder.run_build(worker_with(fails), api.put("/functions/built", wrong).json()["task_id"])
    changed = api.put("/functions/built", {"timeout_sec": 7}).json()
    assert (changed["status"], changed["version"], changed["code"]) == ("active", 3, made["code"])
    assert (changed["timeout_sec"], changed["memory_mb"]) == (7, made["memory_mb"])

    again = api.put("/functions/built", wrong).json()
    assert (again["status"], again["version"]) == ("updating", 3)
    meanwhile = api.put("/functions/built", {"timeout_sec": 8}).json()  # of the one under way
    worker = worker_with(program)
    builder.run_build(worker, meanwhile["task_id"])
    found = state(api)
    assert (found["status"], found["version"], found["memory_mb"], found["timeout_sec"]) == ("active", 5, 512, 8)


def test_what_could_not_be_built_is_tried_again_when_it_is_sent_again(api: Api) -> None:
    made, task_id = create(api)
    builder.run_build(worker_with(fails), task_id)
    assert api.put("/functions/built", {"description": "none the less"}).json()["status"] == "failed"
    again = api.put("/functions/built", {"code": made["code"]}).json()
    assert (again["status"], again["version"]) == ("creating", 0)
    builder.run_build(worker_with(program), again["task_id"])
    assert (state(api)["status"], state(api)["version"]) == ("active", 2)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda job, on_line: BuildResult(artifact=None, error="The build took too long and was stopped."), "too long"),
        (lambda job, on_line: BuildResult(artifact=None), "ended without a word"),
        (lambda job, on_line: BuildResult(artifact=b"x" * (MAX_ARTIFACT_BYTES + 1)), f"at most {MAX_ARTIFACT_BYTES}"),
    ],
    ids=["late", "silent", "large"],
)
def test_a_failed_first_version(api: Api, work: Work, said: str) -> None:
    _, task_id = create(api)
    builder.run_build(worker_with(work), task_id)
    assert state(api)["status"] == "failed"
    assert said in state(api)["status_message"]
    assert api.post("/functions/built/invoke", {}).json()["code"] == "function_not_active"


def test_a_builder_that_is_missing_is_told(api: Api) -> None:
    def missing(job: BuildJob, on_line: LineSink) -> BuildResult:
        raise BuildError("The image nimbus/builder-go:1 is missing. Build it with: …")

    _, task_id = create(api)
    builder.run_build(worker_with(missing), task_id)
    assert "builder-go:1 is missing" in state(api)["status_message"]


def test_a_build_whose_worker_is_lost_runs_again(api: Api) -> None:
    _, task_id = create(api)
    lost = builds.claim(task_id, "dead", timezone.now(), lease_sec=10)
    assert lost is not None
    assert builds.claim(task_id, "other", timezone.now(), lease_sec=10) is None
    assert builds.expire_leases(timezone.now() + timedelta(seconds=5)) == 0
    assert builds.expire_leases(timezone.now() + timedelta(seconds=11)) == 1
    assert [str(pk) for pk in builds.due(timezone.now(), resend_after_sec=60)] == [task_id]
    builder.run_build(worker_with(program), task_id)
    assert task(api, task_id)["attempt"] == 2
    # The one that was thought dead is not: what it says comes to nothing.
    assert builds.fail(lost, "late", "late") is False
    builds.tell(lost, "late")
    assert (state(api)["status"], task(api, task_id).get("output")) == ("active", None)


def test_a_build_that_takes_its_workers_along_is_given_up(api: Api) -> None:
    _, task_id = create(api)
    for _ in range(builds.MAX_ATTEMPTS):
        assert builds.claim(task_id, "dead", timezone.now(), lease_sec=0) is not None
        assert builds.expire_leases(timezone.now() + timedelta(seconds=1)) == 1
    assert builds.claim(task_id, "next", timezone.now(), lease_sec=10) is None
    assert state(api)["status"] == "failed"
    assert "lost during the build, several times" in state(api)["status_message"]


def test_a_stopping_worker_gives_its_build_back(api: Api) -> None:
    _, task_id = create(api)

    def stopped(job: BuildJob, on_line: LineSink) -> BuildResult:
        worker.draining.set()
        return BuildResult(artifact=None, error="killed")

    worker = worker_with(stopped)
    builder.run_build(worker, task_id)
    assert (task(api, task_id)["status"], state(api)["status"]) == ("pending", "creating")
    builder.run_build(worker_with(program), task_id)
    assert state(api)["status"] == "active"


def test_a_full_worker_drops_the_wake_up_and_builds_it_next(api: Api) -> None:
    """A message is no ticket: who builds looks for the next row when it is done."""
    tasks = [create(api, f"built-{number}")[1] for number in range(3)]
    nested: list[str] = []

    def builds_more(job: BuildJob, on_line: LineSink) -> BuildResult:
        if not nested:
            nested.append("tried")
            builder.run_build(worker, tasks[1])
            assert task(api, tasks[1])["status"] == "pending"
        return program(job, on_line)

    worker = worker_with(builds_more)
    builder.run_build(worker, tasks[0])
    assert {task(api, one)["status"] for one in tasks} == {"succeeded"}
    assert worker.builds == {}


def test_the_same_source_is_built_once(api: Api) -> None:
    """Also where the second was asked for before the first was done; a clone and a rollback have it too."""
    code = GO.format(new_id())
    _, first = create(api, "one", code)
    _, second = create(api, "two", code)
    worker = worker_with(program)
    builder.run_build(worker, first)
    assert task(api, second)["output"] == "Built before: nothing to do."
    assert len(worker.toolchains.jobs) == 1
    made, no_task = create(api, "three", code)
    assert (made["status"], no_task) == ("active", "")
    cloned = api.post("/functions/one/clone", {"name": "four"}).json()
    assert cloned["status"] == "active"
    assert FunctionVersion.objects.values("artifact").distinct().count() == 1

    changed = api.put("/functions/one", {"code": GO.format(new_id())}).json()
    builder.run_build(worker, changed["task_id"])
    back = api.post("/functions/one/versions/1/rollback").json()
    assert (back["status"], back["version"]) == ("active", 3)
    assert len(worker.toolchains.jobs) == 2
    # Another handler is another entry: that is built anew.
    assert api.put("/functions/one", {"handler": "handler.Other"}).json()["status"] == "updating"


def test_a_function_that_goes_while_it_is_built_leaves_nothing(api: Api) -> None:
    _, task_id = create(api)

    def deleted_meanwhile(job: BuildJob, on_line: LineSink) -> BuildResult:
        assert api("DELETE", "/functions/built").status_code == 204
        on_line("still compiling")
        return program(job, on_line)

    builder.run_build(worker_with(deleted_meanwhile), task_id)
    assert not Function.objects.exists()
    assert not BuildTask.objects.exists()


def test_a_version_stays_while_it_is_built(api: Api) -> None:
    """Else its build could neither succeed nor fail, and whoever sweeps would stumble over it for ever."""
    _, first = create(api)
    second, third = (api.put("/functions/built", {"code": GO.format(new_id())}).json()["task_id"] for _ in range(2))
    refused = api("DELETE", "/functions/built/versions/2")
    assert (refused.status_code, refused.json()["code"]) == (409, "version_in_use")
    assert "being built" in refused.json()["error"]
    for each in (first, second, third):
        builder.run_build(worker_with(program), each)
    assert api("DELETE", "/functions/built/versions/2").status_code == 204


def test_the_build_of_a_version_that_is_gone_is_given_up(api: Api) -> None:
    _, first = create(api)
    second = api.put("/functions/built", {"code": GO.format(new_id())}).json()["task_id"]
    FunctionVersion.objects.get(version=2).delete()
    builder.run_build(worker_with(program), first)
    assert task(api, second)["status"] == "failed"
    assert state(api)["status"] == "active"


def test_offline_and_online_while_it_is_built(api: Api) -> None:
    _, task_id = create(api)
    builder.run_build(worker_with(program), task_id)
    second = api.put("/functions/built", {"code": GO.format(new_id())}).json()["task_id"]
    assert api.post("/functions/built/offline").json()["status"] == "offline"
    assert api.post("/functions/built/online").json()["status"] == "updating"
    assert "being built" in state(api)["status_message"]
    builder.run_build(worker_with(program), second)
    assert state(api)["status"] == "active"
    assert "status_message" not in state(api)


def test_of_two_builds_the_newer_version_serves(api: Api) -> None:
    """Whichever is done first."""
    _, first = create(api)
    second = api.put("/functions/built", {"code": GO.format(new_id())}).json()["task_id"]
    done: list[str] = []

    def out_of_order(job: BuildJob, on_line: LineSink) -> BuildResult:
        if not done:
            done.append("first")
            builder.run_build(worker_with(program), second)
            # It can be called already.
            assert (state(api)["version"], state(api)["status"]) == (2, "updating")
        return program(job, on_line)

    builder.run_build(worker_with(out_of_order), first)
    assert (state(api)["version"], state(api)["status"]) == (2, "active")
    assert set(BuildTask.objects.values_list("status", flat=True)) == {BuildStatus.SUCCEEDED}


def test_a_recompiled_version_has_the_new_artifact(api: Api) -> None:
    _, task_id = create(api)
    builder.run_build(worker_with(program), task_id)
    version = FunctionVersion.objects.select_related("artifact").get()
    assert version.artifact is not None
    again = api.post("/functions/built/recompile").json()["task_id"]
    other = tar_of({"main": b"of a newer compiler", "nimbus.json": b"{}"})
    builder.run_build(worker_with(lambda job, on_line: BuildResult(artifact=other)), again)
    version.artifact.refresh_from_db()
    assert artifacts.fetch(version.artifact.stored_as) == other
    assert state(api)["version"] == 1


def test_a_wanted_source_is_compiled_before_the_next_row(api: Api) -> None:
    """Somebody waits for it. Nothing is stored."""
    from functions import compiles
    from nimbus_project.core import fleet, redis

    _, first = create(api, "one")
    create(api, "two")
    seen: list[str] = []

    def notes(job: BuildJob, on_line: LineSink) -> BuildResult:
        (source,) = job.files.values()
        seen.append("caller" if b"wanted" in source else "row")
        if len(seen) == 1:
            asking.start()
            wait_until(lambda: redis.connection().llen(redis.COMPILES), "the request to lie there")
        return program(job, on_line)

    answers: list[compiles.Compiled] = []

    def ask() -> None:
        try:
            answers.append(
                compiles.compile_source(runtime="go1.24", code="package main // wanted", handler="handler.main")
            )
        finally:
            connections.close_all()

    fleet.announce(
        redis.connection(), fleet.WorkerState(id="w", node="n", pid=1, driver="process", started_at=0, threads=1)
    )
    asking = threading.Thread(target=ask)
    builder.run_build(worker_with(notes), first)
    asking.join(30)
    assert seen == ["row", "caller", "row"]
    assert answers[0].success and answers[0].binary == b"package main // wanted"
