"""The floors: what the parts cost alone, measured in the same run as the platform."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from celery import Celery
from kombu import Queue

from tests.bench.load import quantile
from tests.services import RedisServer, Server

ECHO_QUEUE = "echo"


def echo_app() -> Celery:
    """A Celery app with one task that answers into a Redis list: what the queue lane is made of, and nothing else."""
    url = os.environ["BENCH_REDIS_URL"]
    app = Celery("echo", broker=url.replace("unix://", "redis+socket://"))
    app.conf.update(
        task_queues=[Queue(ECHO_QUEUE)],
        task_default_queue=ECHO_QUEUE,
        task_ignore_result=True,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
    )
    client = redis.Redis.from_url(url)

    @app.task(name="echo")
    def echo(reply_to: str, text: str) -> None:
        client.lpush(reply_to, text)

    return app


class EchoWorker(Server):
    """The same pool and options as Nimbus's worker."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        super().__init__("echo-worker", folder / "echo.log")
        self._env = env

    def start(self) -> None:
        options = ["--pool=threads", "-c", "24", "-Q", ECHO_QUEUE]
        options += ["--without-gossip", "--without-mingle", "--without-heartbeat", "-n", "echo"]
        command = [sys.executable, "-m", "celery", "-A", "tests.bench.echo", "worker", *options]
        self._spawn(command, env=self._env)


@contextmanager
def _echoing(server: RedisServer, folder: Path) -> Iterator[Callable[[redis.Redis, str], float]]:
    os.environ["BENCH_REDIS_URL"] = server.url
    worker = EchoWorker(folder, dict(os.environ))
    worker.start()
    app = echo_app()

    def call(client: redis.Redis, reply_to: str) -> float:
        """One round trip, ms."""
        began = time.perf_counter()
        app.send_task("echo", args=[reply_to, '{"name": "Nimbus"}'], queue=ECHO_QUEUE, ignore_result=True)
        assert client.brpop([reply_to], timeout=30) is not None, "no answer of the echo worker"
        return (time.perf_counter() - began) * 1000

    try:
        first = redis.Redis.from_url(server.url)
        worker.wait_for(lambda: call(first, "warm-up") > 0, "the echo worker answers")
        yield call
    finally:
        worker.stop()


def celery_round_trip(server: RedisServer, folder: Path, *, seconds: float) -> dict[str, float]:
    """p50 with one caller (ms) and round trips per second with 16."""
    with _echoing(server, folder) as call:
        client = redis.Redis.from_url(server.url)
        until = time.perf_counter() + seconds
        alone = []
        while time.perf_counter() < until:
            alone.append(call(client, "alone"))
        count = _together(server, call, callers=16, seconds=seconds)
    return {"p50_ms": quantile(alone, 0.5), "per_sec_16": count / seconds}


def _together(server: RedisServer, call: Callable[[redis.Redis, str], float], *, callers: int, seconds: float) -> int:
    counts = [0] * callers
    until = time.perf_counter() + seconds

    def go(number: int) -> None:
        client = redis.Redis.from_url(server.url)
        while time.perf_counter() < until:
            call(client, f"caller-{number}")
            counts[number] += 1

    threads = [threading.Thread(target=go, args=(n,)) for n in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def docker_run(image: str, *, times: int) -> float:
    """p50 of `docker run --rm` of a one-line Python in this image, ms."""
    took = []
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python3", image, "-c", "print(1)"]
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        took.append((time.perf_counter() - began) * 1000)
    return quantile(took, 0.5)
