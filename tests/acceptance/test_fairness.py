"""One slow function with a long backlog does not hold up the others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.caller import Caller
from tests.platform import PlatformOptions

BACKLOG = 1000

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.parametrize(
        "platform",
        [
            PlatformOptions(env={"NIMBUS_WORKER_THREADS": "8"}),
            PlatformOptions(database="sqlite", env={"NIMBUS_WORKER_THREADS": "8"}),
        ],
        indirect=True,
        ids=["auto", "sqlite"],
    ),
]


def test_a_call_of_another_function_waits_under_a_second(caller: Caller) -> None:
    caller.create("slow", memory_mb=128)
    caller.create("other", memory_mb=128)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda token: caller.send("slow", {"token": token, "sec": 0.2}), range(BACKLOG)))
    waited = []
    for token in range(5):
        row = caller.ended(caller.send("other", {"token": token}))
        assert (row["status"], row["output"]) == ("success", token)
        waited.append(row["queue_ms"])
    left = caller.http.get("/functions/slow/invocations", params={"status": "pending", "limit": 0}).json()["total"]
    assert left > 100, "the backlog was gone before it could hold anything up"
    assert max(waited) < 1000, waited
