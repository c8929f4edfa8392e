"""Four web processes and two workers: what one changes all know, a worker's death costs its own calls only, crowds are
served by few sandboxes, and callers may go when they like."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.acceptance.fleet import Fleet, Most, open_fleet
from tests.acceptance.quotas import limit
from tests.acceptance.wires import Answer, at_once, paced
from tests.platform import Platform, PlatformOptions
from tests.services import wait_until

MAX_SANDBOXES = 10
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize(
        "platform",
        [
            PlatformOptions(
                beat=False,
                env={
                    "NIMBUS_WORKER_THREADS": "8",
                    "NIMBUS_POOL_MAX_SANDBOXES": str(MAX_SANDBOXES),
                    "NIMBUS_POOL_IDLE_SEC": "3",
                    "NIMBUS_PREWARM_NODE": "0",
                    "NIMBUS_PREWARM_GO": "0",
                    "NIMBUS_PREWARM_WASM": "0",
                },
            )
        ],
        indirect=True,
        scope="module",
        ids=["process"],
    ),
]

NUMBER = "def main(event, context):\n    return {}\n"
WHERE = "import os\ndef main(event):\n    return os.getpid()\n"
SLEEPS = "import time\ndef main(event):\n    time.sleep({sec})\n    return {sec}\n"


@pytest.fixture(scope="module")
def webs(platform: Platform) -> Iterator[Fleet]:
    with open_fleet(platform, webs=4) as opened:
        yield opened


def told(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n    {text}")


# -- what one changes, all know


def changed_under_load(
    webs: Fleet, path: str, change: Callable[[], object], is_old: Callable[[Answer], bool], **headers: str
) -> float:
    """Over all web processes 80 calls a second, and the change in the middle. How long after it was acknowledged the
    last call that saw the old state began, in ms; whoever has seen the new one never goes back."""
    known_at: list[float] = []

    def until(seconds: float) -> bool:
        if seconds > 0.8 and not known_at:
            change()
            known_at.append(time.monotonic())
        return bool(known_at) and time.monotonic() - known_at[0] > 1.2

    answers = asyncio.run(paced(webs.bases, path, 80, until, 30, **headers))
    for number in range(len(webs.bases)):
        own = answers[number :: len(webs.bases)]
        first_new = min(answer.ended for answer in own if not is_old(answer))
        assert [a.text for a in own if is_old(a) and a.began > first_new] == [], f"the web process {number} went back"
    old = [answer.began for answer in answers if is_old(answer)]
    assert len(old) > 20, "the old state was there before"
    assert not [began for began in old if began > known_at[0] + 1], "the old state a second later"
    return 1e3 * (max(old) - known_at[0])


def test_four_web_processes_know_what_has_changed(
    webs: Fleet, platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third, _ = webs.clients
    webs.create("fresh", NUMBER.format(1))
    assert first.put("/functions/fresh", json={"code": NUMBER.format(2)}).status_code == 200
    sides = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    assert first.post("/functions/fresh/aliases", json={"name": "prod", **sides}).status_code == 201
    assert first.post("/functions/fresh/invoke?version=1", json={}).status_code == 200
    key, demoted = (made_key(first, name) for name in ("ann", "bob"))
    path = "/functions/fresh/invoke"
    moved = {"routing_config": {"weights": [{"version": 2, "weight": 100}]}}
    stale = {
        "alias": changed_under_load(
            webs, f"{path}?alias=prod", lambda: ok(second.put("/functions/fresh/aliases/prod", json=moved)),
            lambda answer: answer.version == 1,
        ),
        "code": changed_under_load(
            webs, path, lambda: ok(third.put("/functions/fresh", json={"code": NUMBER.format(3)})),
            lambda answer: answer.version == 2,
        ),
        "key": changed_under_load(
            webs, path, lambda: ok(second.delete(f"/apikeys/{key['id']}")), lambda answer: answer.status == 200,
            Authorization=f"Bearer {key['key']}",
        ),
        "role": changed_under_load(
            webs, path, lambda: ok(second.patch("/users/bob", json={"role": "viewer"})),
            lambda answer: answer.status == 200, Authorization=f"Bearer {demoted['key']}",
        ),
        "offline": changed_under_load(
            webs, path, lambda: ok(third.post("/functions/fresh/offline")), lambda answer: answer.status == 200
        ),
    }  # fmt: skip
    ok(first.post("/functions/fresh/online"))
    try:
        stale["quota"] = changed_under_load(
            webs, path, lambda: limit(platform, max_invocations_per_day=1), lambda answer: answer.status == 200
        )
    finally:
        limit(platform)
    told(capsys, "last call that saw the old state, after the change was acknowledged: " + ", ".join(
        f"{what} {ms:+.0f} ms" for what, ms in stale.items()
    ))  # fmt: skip


def ok(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, f"{answer.status_code}: {answer.text}"
    return answer


def made_key(client: httpx.Client, name: str) -> dict[str, str]:
    ok(client.post("/users", json={"name": name, "role": "developer"}))
    key: dict[str, str] = ok(client.post("/apikeys", json={"name": name, "user": name})).json()
    return key


def test_a_run_can_be_read_by_every_web_process_right_after_its_answer(webs: Fleet) -> None:
    webs.create("read", NUMBER.format(1))
    for number in range(12):
        run = ok(webs.clients[number % 4].post("/functions/read/invoke", json={})).json()["invocation_id"]
        for client in webs.clients:
            assert ok(client.get(f"/invocations/{run}")).json()["status"] == "success"


# -- crowds


def test_200_callers_of_a_cold_function(webs: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    webs.create("crowd", SLEEPS.format(sec=0.05))
    with Most(webs) as most:
        answers = asyncio.run(at_once(webs.bases, [("/functions/crowd/invoke", {})] * 200, 200))
    assert Counter(answer.status for answer in answers) == {200: 200}
    assert 0 < most.sandboxes <= 2 * MAX_SANDBOXES
    wait_until(lambda: webs.sandboxes() <= 6, 60, "both pools have shrunk to what they keep prewarmed")
    told(capsys, f"200 callers at once: at most {most.sandboxes} sandboxes, {webs.sandboxes()} in the end")


def test_32_callers_of_a_fast_function_share_few_sandboxes(webs: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    webs.create("fast", WHERE)
    answers = asyncio.run(at_once(webs.bases, [("/functions/fast/invoke", {})] * 2000, 32))
    assert Counter(answer.status for answer in answers) == {200: 2000}
    pids = {answer.body for answer in answers}
    told(capsys, f"32 callers of a fast function: {len(pids)} sandboxes on two workers")
    assert len(pids) <= MAX_SANDBOXES, "of twice as many that they may have"


# -- who goes


def test_a_caller_who_hangs_up(webs: Fleet) -> None:
    webs.create("left", SLEEPS.format(sec=1.5))
    ok(webs.clients[1].post("/functions/left/invoke", json={}))
    event = b"{}"
    with socket.create_connection(("127.0.0.1", webs.platform.port)) as caller:
        head = f"POST /api/v1/functions/left/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(event)}\r\n\r\n"
        caller.sendall(head.encode() + event)
        wait_until(lambda: [run for w in webs.living() for run in w.running], 30, "the run to be told of")

    def rows() -> list[str]:
        return [row["status"] for row in webs.clients[2].get("/functions/left/invocations").json()["invocations"]]

    wait_until(lambda: rows() == ["success"] * 2, 30, "the run to be on record")
    assert ok(webs.clients[3].post("/functions/left/invoke", json={})).json()["start_kind"] == "warm"


def test_a_worker_is_killed_under_load(webs: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    webs.create("doomed", SLEEPS.format(sec=0.2))
    killed_at: list[float] = []

    def until(seconds: float) -> bool:
        if seconds > 2 and not killed_at:
            # Whoever has calls now.
            busiest = max(webs.living(), key=lambda worker: len(worker.running))
            next(server for server in webs.workers if server.pid == busiest.pid).kill9()
            killed_at.append(time.monotonic())
        return bool(killed_at) and time.monotonic() - killed_at[0] > 4

    answers = asyncio.run(paced(webs.bases, "/functions/doomed/invoke", 40, until, 60))
    lost = [answer for answer in answers if answer.status != 200]
    assert lost, "it had calls under way"
    assert {(json.loads(each.text).get("code"), each.status, each.can_be_retried) for each in lost} == {
        ("worker_lost", 503, True)
    }
    assert [each for each in lost if each.began > killed_at[0] + 2] == []
    after = max((each.began for each in lost), default=0) - killed_at[0]
    told(
        capsys, f"a worker killed: {len(lost)} of {len(answers)} calls lost, the last began {1e3 * after:+.0f} ms after"
    )
    # Nothing that was answered is off the record, the dead worker's included.
    wanted = {"success": len(answers) - len(lost), "failed": len(lost)}
    wait_until(lambda: statuses(webs, "doomed") == wanted, 60, f"the records: {wanted}")
    next(server for server in webs.workers if not server.running).start()
    wait_until(lambda: len(webs.living()) == 2, 60, "both workers live again")


def statuses(webs: Fleet, name: str) -> dict[str, int]:
    def count(status: str) -> int:
        total: int = webs.clients[0].get(f"/functions/{name}/invocations?status={status}&limit=1").json()["total"]
        return total

    return {status: count(status) for status in ("success", "failed")}
