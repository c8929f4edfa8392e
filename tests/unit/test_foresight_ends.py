"""The web process's reading ahead ends when it is told to, also when news come in the same moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from functions import directory
from invocations.foresight import Foresight

TICKS = range(8)
"""More rounds of the loop than lie between news and the look at them."""


async def _nothing(*_: Any) -> None: ...


@pytest.mark.parametrize("ticks", TICKS)
def test_it_ends_in_the_moment_of_news(ticks: int) -> None:
    async def cancelled_after_news() -> None:
        foresight = Foresight(_nothing)
        task = asyncio.create_task(foresight.look_ahead())
        await asyncio.sleep(0.01)
        foresight._news.set()
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.done() and task.cancelled()

    before = list(directory._listeners)
    asyncio.run(cancelled_after_news())
    assert list(directory._listeners) == before
