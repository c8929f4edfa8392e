"""Compiling without a function: `POST /compile`. Nothing is stored.

Requests lie in a list in Redis; whichever worker has room for a build takes the next. The caller is the retry: a
request nobody has taken by its deadline is dropped, a worker that dies with one is not noticed before that.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import orjson

from functions import packages
from functions.models import PackageKind
from functions.packages import Upload
from functions.runtimes import RUNTIMES
from nimbus_project.core import fleet, queue, redis
from nimbus_project.core.errors import InvalidRequest, NoWorker, TooManyRequests, Unavailable
from nimbus_project.core.ids import new_id
from nimbus_project.core.queue import Task

COMPILED_RUNTIMES = ("go1.24", "wasm")
WAIT_SEC = 60.0
MAX_WAITING = 20
"""More would wait in vain."""
_WAKE_SEC = 1.0
_HEAD_END = b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One source to compile. `deadline` is a point of `time.time()`: another process keeps it."""

    id: str
    runtime: str
    handler: str
    language: str
    code: str
    deadline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What came of it."""

    success: bool
    output: str = ""
    """The compiler's log."""
    error: str = ""
    binary: bytes = b""


def compile_source(*, runtime: str, code: str, handler: str, language: str = "") -> Compiled:
    """Have a worker compile it. Raises InvalidRequest, NoWorker, TooManyRequests, Unavailable."""
    if runtime not in COMPILED_RUNTIMES:
        message = f"{RUNTIMES[runtime].title} is not compiled; functions in {' and '.join(COMPILED_RUNTIMES)} are."
        raise InvalidRequest(message, details={"runtime": [message]})
    told = packages.language_of(runtime, handler, language, Upload(PackageKind.SOURCE, code.encode()))
    client = redis.connection()
    if not fleet.living(client):
        raise NoWorker("No worker is alive that could compile. Start one and try again.")
    if int(client.llen(redis.COMPILES)) >= MAX_WAITING:  # type: ignore[arg-type]
        raise TooManyRequests(f"{MAX_WAITING} sources wait for the compiler already. Try again.")
    request = Request(
        id=str(new_id()), runtime=runtime, handler=handler, language=told, code=code, deadline=time.time() + WAIT_SEC
    )
    client.rpush(redis.COMPILES, orjson.dumps(asdict(request)))
    return _answer_to(request)


def _answer_to(request: Request) -> Compiled:
    client = redis.connection()
    while time.time() < request.deadline:
        # Again and again: a wake-up that finds no room is dropped.
        queue.send(Task.COMPILE)
        found = client.blpop([redis.COMPILED + request.id], timeout=_WAKE_SEC)
        if found is not None:
            head, _, binary = bytes(found[1]).partition(_HEAD_END)  # type: ignore[index]
            return Compiled(**orjson.loads(head), binary=binary)
    raise Unavailable(f"Nothing was compiled within {WAIT_SEC:.0f} s: other builds came first. Try again.")


def next_request() -> Request | None:
    """The next one that somebody still waits for; for the worker."""
    client = redis.connection()
    while data := client.lpop(redis.COMPILES):
        request = Request(**orjson.loads(data))  # type: ignore[arg-type]
        if request.deadline > time.time():
            return request
    return None


def answer(request: Request, compiled: Compiled) -> None:
    """Give it to whoever waits."""
    head = {"success": compiled.success, "output": compiled.output, "error": compiled.error}
    pipeline = redis.connection().pipeline(transaction=False)
    pipeline.rpush(redis.COMPILED + request.id, orjson.dumps(head) + _HEAD_END + compiled.binary)
    pipeline.expire(redis.COMPILED + request.id, int(WAIT_SEC))
    pipeline.execute()
