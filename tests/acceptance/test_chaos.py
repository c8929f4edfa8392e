"""What was accepted comes to exactly one end, though every part of the platform is killed at random meanwhile."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance import chaos_executions
from tests.acceptance.chaos import Ear, Killer, World, running_world, settled
from tests.requirements import require
from tests.services import PostgresServer, RedisServer, wait_until

COUNT = 2000
ENDED = {"success", "failed", "timeout", "cancelled"}
LEAST_KILLED = 18
"""Each part three times, and in no less than KILLING_SEC."""
KILLING_SEC = 60.0
CODE = """
import os, signal, socket, time

def main(event, context):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.sendto(f"{event['token']} {context.attempt} {time.time()}".encode(), ("127.0.0.1", event["port"]))
    if event["kind"] == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if event["kind"] == "fail":
        raise ValueError("as told")
    return event["token"]
"""

pytestmark = pytest.mark.timeout(600)


def kind_of(token: int) -> str:
    """2 % crash their sandbox, 10 % fail, 2 % are cancelled before they are due."""
    if token % 50 == 0:
        return "crash"
    if token % 50 == 25:
        return "cancel"
    return "fail" if token % 10 == 1 else "good"


@pytest.fixture
def world() -> Iterator[World]:
    require("postgres", PostgresServer.missing())
    require("redis", RedisServer.missing())
    # Short, for sockets; open to the user that the database server runs as.
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.chmod(0o711)
    try:
        with running_world(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Client:
    """Asks until it is answered: a request whose connection broke may have been accepted, and its key says so."""

    def __init__(self, world: World) -> None:
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=0)
        self._http = httpx.Client(base_url=world.platform.url + "/api/v1", timeout=20, limits=limits)

    def ask(self, method: str, path: str, *good: int, **more: Any) -> Any:
        until = time.monotonic() + 180
        told = ""
        while time.monotonic() < until:
            try:
                answer = self._http.request(method, path, **more)
                if answer.status_code in good:
                    return answer.json()
                told = f"{answer.status_code}: {answer.text[:200]}"
                assert answer.status_code >= 500, told
            except httpx.TransportError as error:
                told = repr(error)
            time.sleep(0.2)
        raise AssertionError(f"{method} {path} came to nothing: {told}")

    def send(self, token: int, port: int) -> str:
        kind = kind_of(token)
        path = "/functions/chaos/async" + ("?delay_sec=3600" if kind == "cancel" else "")
        event = {"token": token, "port": port, "kind": kind}
        answer = self.ask("POST", path, 202, json=event, headers={"Idempotency-Key": f"token-{token}"})
        accepted: str = answer["invocation_id"]
        if kind == "cancel":
            # 409: an answer that got lost had ended it.
            self.ask("POST", f"/invocations/{accepted}/cancel", 200, 409)
        return accepted

    def all_of(self, path: str, plural: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.ask("GET", path, 200, params={"limit": "100", "cursor": cursor})
            rows += page[plural]
            cursor = page.get("next_cursor", "")
            if not cursor:
                return rows

    def ended(self) -> int:
        """So many have ended, at the least: no end is ever taken back, whereas what is pending or running may be the
        other when that is asked for."""
        path = "/functions/chaos/invocations"
        asked = [self.ask("GET", path, 200, params={"status": status, "limit": "0"}) for status in sorted(ENDED)]
        return sum(answer["total"] for answer in asked)

    def close(self) -> None:
        self._http.close()


def test_what_was_accepted_comes_to_exactly_one_end(world: World) -> None:
    seed = int(os.environ.get("NIMBUS_TEST_SEED") or random.randrange(10**6))
    print(f"seed {seed}")
    client, ear, killer = Client(world), Ear(), Killer(world, seed)
    try:
        body = {"name": "chaos", "runtime": "python3.11", "handler": "handler.main", "code": CODE, "memory_mb": 128}
        client.ask("POST", "/functions", 201, json=body | {"max_retries": 1, "network": "egress", "timeout_sec": 20})
        chaos_executions.create(client)
        ids = accepted_while_killed(client, ear, killer)
        settled(world)
        wait_until(lambda: client.ended() == COUNT, 180, "all of them to end")
        check(client, ids, ear)
        wait_until(lambda: chaos_executions.have_ended(client), 60, "all executions to end")
        chaos_executions.check(client, range(0, COUNT, chaos_executions.EVERY))
    finally:
        client.close()
        ear.close()
    assert dead_threads(world) == []


def accepted_while_killed(client: Client, ear: Ear, killer: Killer) -> dict[int, str]:
    """Invocation by token: some at once, the others spread over the time of the killing."""
    pace, cut_short = threading.Semaphore(0), threading.Event()

    def send(token: int) -> str:
        pace.acquire()
        if cut_short.is_set():
            return ""
        if token % chaos_executions.EVERY == 0:
            chaos_executions.begin(client, token)
        return client.send(token, ear.port)

    began, let = time.monotonic(), 0
    with ThreadPoolExecutor(24) as pool:
        futures = [pool.submit(send, token) for token in range(COUNT)]
        try:
            while let < COUNT:
                # In step with the killing, so that it goes on as long as there is something to accept, on any machine.
                progress = min((len(killer.killed) + 1) / LEAST_KILLED, (time.monotonic() - began + 5) / KILLING_SEC)
                allowed = min(COUNT, int(progress * COUNT))
                if allowed > let:
                    pace.release(allowed - let)
                let = max(let, allowed)
                killer.strike()
        except BaseException:
            cut_short.set()
            pace.release(COUNT)
            raise
        print(f"killed {dict(Counter(killer.killed))} in {time.monotonic() - began:.0f} s")
        return {token: future.result(300) for token, future in enumerate(futures)}


def check(client: Client, ids: dict[int, str], ear: Ear) -> None:
    rows = {row["id"]: row for row in client.all_of("/functions/chaos/invocations", "invocations")}
    assert len(set(ids.values())) == COUNT, "two requests are one invocation"
    assert set(rows) == set(ids.values()), "accepted is not what there is"
    letters = [letter["invocation_id"] for letter in client.all_of("/dlq", "dead_letters")]
    tokens = {invocation_id: token for token, invocation_id in ids.items()}
    statuses = Counter(row["status"] for row in rows.values())
    print(dict(statuses), f"{len(letters)} dead letters, {len(ear.begun)} runs")
    assert set(statuses) <= ENDED
    assert sum(statuses.values()) == COUNT
    failed = {row["id"] for row in rows.values() if row["status"] in ("failed", "timeout")}
    assert len(letters) == len(set(letters)) and set(letters) == failed
    wrong = [row for row in rows.values() if not is_right(row, kind_of(tokens[row["id"]]), tokens[row["id"]])]
    assert wrong == []
    recorded = {
        tokens[row["id"]]: datetime.fromisoformat(row["completed_at"]).timestamp()
        for row in rows.values()
        if row["status"] == "success"
    }
    again = [run for run in ear.begun if run[0] in recorded and run[2] > recorded[run[0]]]
    assert again == [], "a success ran again after it was recorded"
    assert {token for token, _, _ in ear.begun} >= set(recorded)


def is_right(row: dict[str, Any], kind: str, token: int) -> bool:
    """Its end is the one it should have; a run may also have lost too many workers."""
    lost = row["status"] == "failed" and row["error_type"] == "WorkerLost"
    if kind == "good":
        return lost or (row["status"] == "success" and row["output"] == token)
    if kind == "cancel":
        return bool(row["status"] == "cancelled")
    return lost or (row["status"] == "failed" and row["error_type"] in ("ValueError", "ProcessCrashed"))


def dead_threads(world: World) -> list[str]:
    """What Python says when a thread or an asyncio task ends by an exception."""
    signs = ("Exception in thread", "exception was never retrieved", "Exception ignored in")
    lines = [line for part in world.parts.values() for line in part.logs().splitlines()]
    return [line for line in lines if any(sign in line for sign in signs)]
