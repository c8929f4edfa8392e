"""How a web process gets to know workers: none has to wait for another one's silence."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from invocations import direct
from invocations.direct import DirectLane, Link
from nimbus_project.config import Config
from nimbus_project.core.fleet import WorkerState


def state(worker_id: str, tcp: str = "192.0.2.1:1") -> WorkerState:
    """Of another node; its address is one that nobody has."""
    return WorkerState(
        id=worker_id, node="there", pid=1, driver="process", started_at=0.0, threads=1, direct={"tcp": tcp}
    )


def test_all_are_joined_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answers only once all have been called."""

    async def follow() -> set[str]:
        all_called = asyncio.Barrier(3)

        async def connect(lane: DirectLane, worker: WorkerState) -> Link:
            await all_called.wait()
            link = Link(worker.id)
            link.is_open = True
            return link

        monkeypatch.setattr(DirectLane, "_connect", connect)
        lane = DirectLane(Config())
        await lane.follow(map(state, "abc"))
        return set(lane._links)

    assert asyncio.run(follow()) == set("abc")


def test_who_can_not_be_reached_keeps_nobody_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "CONNECT_SEC", 0.01)

    async def follow() -> set[str]:
        async def connect(lane: DirectLane, worker: WorkerState) -> Link:
            if worker.id == "silent":
                await asyncio.get_running_loop().create_future()
            if worker.id == "closed":
                raise OSError
            link = Link(worker.id)
            link.is_open = True
            return link

        monkeypatch.setattr(DirectLane, "_connect", connect)
        lane = DirectLane(Config())
        await lane.follow(map(state, ("silent", "closed", "there")))
        return set(lane._links)

    assert asyncio.run(follow()) == {"there"}


def test_an_address_that_is_none_is_a_worker_that_can_not_be_reached() -> None:
    async def follow() -> int:
        # Any three files will do: it is not got that far.
        lane = DirectLane(Config(direct_tls_ca=__file__, direct_tls_cert=__file__, direct_tls_key=__file__))
        lane._tls = cast("object", True)  # type: ignore[assignment]
        await lane.follow([state("new", tcp="of another release")])
        return len(lane._links)

    assert asyncio.run(follow()) == 0
