"""Who asks and never reads the answers gets no more of our memory: uvicorn's own path waits until they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from nimbus_project.express_protocol import ExpressProtocol

REQUEST = (
    b"POST /api/v1/functions/hello/invoke HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: 2\r\n\r\n{}"
)


class Application:
    """Notes which way a request came."""

    def __init__(self) -> None:
        self.took: list[str] = []
        self.ways = (SimpleNamespace(new_habit=object, takes=lambda *_: True, begin=self._begin),)

    def _begin(self, *_: Any) -> bool:
        self.took.append("express")
        return True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.took.append("asgi")


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"socket": None})

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None: ...

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@pytest.mark.parametrize(
    ("before", "way"),
    [
        (lambda _: None, "express"),
        (ExpressProtocol.pause_writing, "asgi"),
        (lambda one: (one.pause_writing(), one.resume_writing()), "express"),
    ],
)
def test_the_express_way_is_for_who_reads(before: Callable[[ExpressProtocol], Any], way: str) -> None:
    app = Application()

    async def ask() -> None:
        config = Config(cast(Any, app), lifespan="off", log_config=None)
        config.load()
        config.loaded_app = cast(Any, app)
        protocol = ExpressProtocol(config, ServerState(), {})
        protocol.connection_made(Wire())
        before(protocol)
        protocol.data_received(REQUEST)
        # uvicorn waits with its answer until then.
        protocol.resume_writing()
        await asyncio.gather(*protocol.tasks)

    asyncio.run(ask())
    assert app.took == [way]
