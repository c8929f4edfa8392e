"""Projects as a user has them: zips made on the spot, and calls that wait for their builds."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping
from typing import Any

from tests.acceptance.caller import Caller
from tests.services import wait_until

BUILD_SEC = 240.0


def zip_of(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def as_archive(files: Mapping[str, str | bytes]) -> str:
    """As the field `archive` takes it."""
    return base64.b64encode(zip_of(files)).decode()


def deploy(caller: Caller, name: str, **given: Any) -> dict[str, Any]:
    """A new function of this name, built; the function."""
    caller.http.delete(f"/functions/{name}")
    answer = caller.http.post("/functions", json={"name": name, "handler": "handler.main"} | given)
    assert answer.status_code == 201, answer.text
    return built(caller, name)


def built(caller: Caller, name: str) -> dict[str, Any]:
    """The function once nothing of it is being built any more; fails when the build has."""
    wait_until(lambda: state(caller, name)["status"] not in ("creating", "updating"), BUILD_SEC, f"the build of {name}")
    found = state(caller, name)
    assert found["status"] == "active", build_log(caller, found)
    assert "failed" not in found.get("status_message", ""), found
    return found


def state(caller: Caller, name: str) -> dict[str, Any]:
    answer = caller.http.get(f"/functions/{name}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def build_log(caller: Caller, function: Mapping[str, Any]) -> str:
    task = caller.http.get(f"/tasks/{function['task_id']}").json()["task"] if function.get("task_id") else {}
    return f"{function.get('status_message')}\n{task.get('output')}"


def result(caller: Caller, name: str, event: Any = None) -> Any:
    """What a call returns; fails when it does not succeed."""
    answer = caller.invoke(name, event)
    assert answer.status_code == 200, answer.text
    return answer.json()["body"]
