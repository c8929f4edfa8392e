"""Go on the real platform: from source to answer, builds that fail, a worker that dies, compiling without creating."""

from __future__ import annotations

import base64
import threading
from typing import Any

import pytest

from tests.acceptance.caller import Caller
from tests.integration.test_go_builds import huge
from tests.platform import Platform, PlatformOptions
from tests.projects import as_archive, build_log, built, deploy, result, state
from tests.requirements import require
from tests.services import wait_until
from workers.drivers import process_go

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.parametrize(
        "platform",
        [
            PlatformOptions(driver="docker", images=("go1.24", "builder-go")),
            PlatformOptions(driver="process", database="sqlite"),
        ],
        ids=["docker", "process"],
        indirect=True,
        scope="module",
    ),
]

HANDLER = """package handler

import (
	"context"
	"fmt"

	"nimbus"
)

type Order struct{ Count int }

func Handler(ctx context.Context, order Order) (map[string]any, error) {
	if order.Count < 0 {
		return nil, fmt.Errorf("bad count %d", order.Count)
	}
	fmt.Println("counting", order.Count)
	return map[string]any{"next": order.Count + STEP, "version": nimbus.FromContext(ctx).FunctionVersion}, nil
}
"""
PROGRAM = """package main

import (
	"encoding/json"
	"os"
)

func main() {
	var event map[string]int
	if err := json.NewDecoder(os.Stdin).Decode(&event); err != nil {
		panic(err)
	}
	json.NewEncoder(os.Stdout).Encode(event["n"] * 2)
}
"""


@pytest.fixture(autouse=True)
def _needs_go() -> None:
    require("go", None if process_go.find_goroot() else process_go.INSTALL)


def handler(step: int) -> str:
    return HANDLER.replace("STEP", str(step))


def create(caller: Caller, name: str, **given: Any) -> dict[str, Any]:
    """The answer to a creation."""
    caller.http.delete(f"/functions/{name}")
    answer = caller.http.post("/functions", json={"name": name, "runtime": "go1.24", "handler": "handler.main"} | given)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def task_of(caller: Caller, reference: str) -> dict[str, Any]:
    answer = caller.http.get(f"/tasks/{reference}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["task"]
    return found


def test_a_handler_from_source_to_answer(caller: Caller) -> None:
    made = create(caller, "counter", code=handler(1))
    assert made["status"] == "creating"
    function = built(caller, "counter")
    task = task_of(caller, made["task_id"])
    assert (task["status"], function["version"]) == ("succeeded", 1)

    answer = caller.http.post("/functions/counter/invoke?logs=true", json={"Count": 4}).json()
    assert (answer["status_code"], answer["body"]) == (200, {"next": 5, "version": 1})
    assert "counting 4" in answer["logs"]
    failed = caller.invoke("counter", {"Count": -4})
    assert failed.status_code == 500
    assert (failed.json()["error"], failed.json()["error_type"]) == ("bad count -4", "errorString")


def test_a_program_and_a_project(caller: Caller) -> None:
    create(caller, "twice", code=PROGRAM)
    built(caller, "twice")
    assert result(caller, "twice", {"n": 21}) == 42
    files = {
        "go.mod": "module shop\n\ngo 1.24\n",
        "main.go": 'package shop\n\nimport "shop/prices"\n\nfunc Handler() int { return prices.Of(2) }\n',
        "prices/prices.go": "package prices\n\nfunc Of(n int) int { return 3 * n }\n",
    }
    deploy(caller, "shop", runtime="go1.24", archive=as_archive(files))
    assert result(caller, "shop") == 6


def test_an_update_that_can_not_be_built_leaves_the_old_version_serving(caller: Caller) -> None:
    deploy(caller, "lasting", runtime="go1.24", code=handler(1))
    answers: list[int] = []
    stop = threading.Event()

    def keep_calling() -> None:
        while not stop.is_set():
            answers.append(caller.invoke("lasting", {"Count": 1}).status_code)

    calling = threading.Thread(target=keep_calling)
    calling.start()
    try:
        update = caller.http.put("/functions/lasting", json={"code": handler(1).replace("order.Count + 1", "missing")})
        assert (update.status_code, update.json()["status"]) == (200, "updating")
        wait_until(lambda: state(caller, "lasting")["status"] != "updating", 120, "the build has ended")
    finally:
        stop.set()
        calling.join()
    found = state(caller, "lasting")
    assert found["status"] == "active"
    assert found["status_message"] == "The build of version 2 failed: handler.go:17:32: undefined: missing"
    assert set(answers) == {200}
    assert result(caller, "lasting", {"Count": 1}) == {"next": 2, "version": 1}

    caller.http.put("/functions/lasting", json={"code": handler(10)})
    built(caller, "lasting")
    assert result(caller, "lasting", {"Count": 1}) == {"next": 11, "version": 3}


def test_a_first_version_that_can_not_be_built_is_failed(caller: Caller) -> None:
    made = create(caller, "broken", code="package handler\n\nfunc Handler( {\n")
    wait_until(lambda: state(caller, "broken")["status"] != "creating", 120, "the build has ended")
    found = state(caller, "broken")
    assert found["status"] == "failed"
    assert "handler.go:3:15" in found["status_message"]
    task = task_of(caller, made["task_id"])
    assert task["status"] == "failed"
    assert "handler.go:3:15" in task["output"]
    assert caller.invoke("broken").status_code == 400
    assert caller.http.delete("/functions/broken").status_code == 204


def test_the_same_source_is_built_once(caller: Caller) -> None:
    first = create(caller, "origin", code=handler(77))
    built(caller, "origin")
    second = create(caller, "copy", code=handler(77))
    assert (first["status"], second["status"]) == ("creating", "active")
    assert result(caller, "copy", {"Count": 0}) == {"next": 77, "version": 1}


def test_a_worker_that_dies_while_it_builds(caller: Caller, platform: Platform) -> None:
    made = create(caller, "long", code=huge(6_000).decode().replace("println(", "print("))
    wait_until(lambda: task_of(caller, made["task_id"])["status"] == "running", 60, "the build has begun")
    platform.worker.kill9()
    assert task_of(caller, made["task_id"])["status"] == "running"
    platform.start_worker()
    wait_until(lambda: task_of(caller, made["task_id"])["status"] == "succeeded", 240, "the build runs again")
    task = task_of(caller, made["task_id"])
    assert task["attempt"] == 2, build_log(caller, state(caller, "long"))
    assert state(caller, "long")["status"] == "active"
    assert list(platform.var_dir.glob("builds/*")) == []


def test_compiling_creates_nothing(caller: Caller) -> None:
    before = caller.http.get("/functions").json()["total"]
    answer = caller.http.post("/compile", json={"runtime": "go1.24", "code": handler(3)})
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    binary = answer.json()["binary"]
    assert base64.b64decode(binary).startswith(b"\x7fELF")
    assert caller.http.get("/functions").json()["total"] == before

    wrong = caller.http.post(
        "/compile", json={"runtime": "go1.24", "code": "package main\n\nfunc main() { x }\n"}
    ).json()
    assert (wrong["success"], "binary" in wrong) == (False, False)
    assert wrong["output"] == "handler.go:3:15: undefined: x"
    assert "undefined: x" in wrong["error"]
    interpreted = caller.http.post("/compile", json={"runtime": "python3.11", "code": "x"})
    assert (interpreted.status_code, "runtime" in interpreted.json()["details"]) == (400, True)

    # What was compiled so can be uploaded, and is the handler that it was.
    made = create(caller, "uploaded", binary=binary)
    assert made["status"] == "active"
    assert result(caller, "uploaded", {"Count": 4}) == {"next": 7, "version": 1}


def test_a_function_is_compiled_again(caller: Caller) -> None:
    deploy(caller, "again", runtime="go1.24", code=handler(5))
    assert result(caller, "again", {"Count": 0}) == {"next": 5, "version": 1}
    answer = caller.http.post("/functions/again/recompile")
    assert (answer.status_code, answer.json()["status"]) == (202, "updating")
    built(caller, "again")
    task = task_of(caller, answer.json()["task_id"])
    assert (task["type"], task["status"], task["version"]) == ("recompile", "succeeded", 1)
    assert result(caller, "again", {"Count": 1}) == {"next": 6, "version": 1}
    caller.create("plain", "def main(event):\n    return 1\n")
    assert caller.http.post("/functions/plain/recompile").status_code == 409


def test_a_wrong_binary_is_refused_and_nothing_stays(caller: Caller) -> None:
    caller.http.delete("/functions/wrong")
    body = {"name": "wrong", "runtime": "go1.24", "handler": "handler.main"}
    for data, said in ((b"#!/bin/sh\n", "ELF"), (b"\x7fELF\x01\x01" + bytes(100), "64-bit")):
        answer = caller.http.post("/functions", json=body | {"binary": base64.b64encode(data).decode()})
        assert answer.status_code == 400
        assert said in answer.json()["details"]["binary"][0]
    assert caller.http.get("/functions/wrong").status_code == 404
