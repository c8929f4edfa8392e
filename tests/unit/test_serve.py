"""The web process's server, and the socket it is handed."""

from __future__ import annotations

import logging
import logging.config
import os
import socket
import sys
from typing import Any

import pytest
import uvicorn

from nimbus_project import serve
from nimbus_project.core.logging import JsonFormatter, logging_config


@pytest.mark.parametrize(("started", "code"), [(True, 0), (False, 1)])
def test_a_socket_is_served_as_what_it_is(started: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a Unix socket its connections would have no TCP_NODELAY: 40 ms for each answer of two parts."""
    families = []

    def run(server: uvicorn.Server, sockets: Any = None) -> None:
        families.extend(each.family for each in sockets)
        server.started = started

    monkeypatch.setattr(uvicorn.Server, "run", run)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(sys, "argv", ["serve", "--fd", str(os.dup(listener.fileno()))])
        with pytest.raises(SystemExit) as ended:
            serve.main()
    assert (families, ended.value.code) == ([socket.AF_INET], code)


def test_what_uvicorn_says_is_json_like_all_else() -> None:
    logging.config.dictConfig(logging_config("INFO"))
    serve.server(None, 1)
    logger: logging.Logger | None = logging.getLogger("uvicorn.error")
    formatters = []
    while logger is not None:
        formatters += [handler.formatter for handler in logger.handlers if type(handler) is logging.StreamHandler]
        logger = logger.parent if logger.propagate else None
    assert [type(each) for each in formatters] == [JsonFormatter]
