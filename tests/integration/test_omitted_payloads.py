"""What is kept of large events and results: of synchronous calls their size, of queued and repeatable ones all."""

from __future__ import annotations

import time
from typing import Any

import pytest

from invocations import ledger
from invocations.models import Invocation
from nimbus_project.config import config
from tests.integration.plane import Api, refusal, wait_until
from tests.runs import run

ECHO = "def main(event):\n    return event if event.get('back', True) else None"
MOST = config().kept_payload_bytes


def event_of(size: int, **more: Any) -> dict[str, Any]:
    """`size` bytes of JSON as the client spells it."""
    empty = len(api_json({"x": "", **more}))
    return {"x": "x" * (size - empty), **more}


def api_json(value: Any) -> bytes:
    import httpx

    return httpx.Request("POST", "http://x", json=value).content


def ended(api: Api, reference: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        row: dict[str, Any] = api.get(f"/invocations/{reference}").json()
        return row if row.get("status") not in (None, "pending", "running") else None

    found = wait_until(look, "the invocation to end")
    assert found is not None
    return found


@pytest.mark.usefixtures("worker")
class TestCalls:
    def test_a_large_event_and_result_are_answered_and_not_kept(self, api: Api) -> None:
        api.create(code=ECHO)
        event = event_of(MOST + 1)
        answer = api.post("/functions/hello/invoke", event)
        assert (answer.status_code, answer.json()["body"]) == (200, event)
        whole = ended(api, answer.json()["invocation_id"])
        assert (whole["input"], "output" in whole) == (None, False)
        assert whole["omitted"]["input"] == MOST + 1
        # Python's spelling has spaces.
        assert whole["omitted"]["output"] >= MOST + 1
        (listed,) = api.get("/functions/hello/invocations").json()["invocations"]
        assert (listed["omitted"], listed["input"], "truncated" in listed) == (whole["omitted"], None, False)
        refusal(api.post(f"/invocations/{whole['id']}/replay"), 409, "event_not_kept")
        assert Invocation.objects.count() == 1

    def test_up_to_the_limit_all_is_kept(self, api: Api) -> None:
        api.create(code=ECHO)
        event = event_of(MOST, back=False)
        answer = api.post("/functions/hello/invoke", event)
        whole = ended(api, answer.json()["invocation_id"])
        assert (whole["input"], "omitted" in whole) == (event, False)

    def test_each_by_itself(self, api: Api) -> None:
        api.create(code="def main(event):\n    return 'x' * event['n']")
        answer = api.post("/functions/hello/invoke", {"n": MOST})
        whole = ended(api, answer.json()["invocation_id"])
        assert (whole["input"], whole["omitted"]) == ({"n": MOST}, {"output": MOST + 2})
        assert api.post(f"/invocations/{whole['id']}/replay").status_code == 202

    def test_a_repeatable_call_is_kept_whole(self, api: Api) -> None:
        api.create(code=ECHO)
        event, headers = event_of(MOST * 2), {"idempotency-key": "large"}
        first = api.post("/functions/hello/invoke", event, headers=headers)
        again = api.post("/functions/hello/invoke", event, headers=headers)
        assert again.json()["invocation_id"] == first.json()["invocation_id"]
        assert first.json()["body"] == again.json()["body"] == event

    def test_a_queued_event_is_kept_whole(self, api: Api) -> None:
        api.create(code=ECHO)
        event = event_of(MOST * 2)
        answer = api.post("/functions/hello/async", event)
        whole = ended(api, answer.json()["invocation_id"])
        assert (whole["input"], whole["output"], "omitted" in whole) == (event, event, False)


@pytest.mark.usefixtures("transactional_db")
def test_what_a_web_process_writes_itself_has_the_same_bound() -> None:
    now = time.time() * 1000
    lost = run(input=b'"' + b"x" * MOST + b'"', output=None, created_ms=now, completed_ms=now)
    ledger.write([lost])
    row = Invocation.objects.get(pk=lost.id)
    assert (bytes(row.input), row.omitted_input_bytes, row.omitted_output_bytes) == (b"", MOST + 2, None)
