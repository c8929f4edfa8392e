"""A real browser, and a web site of somebody else's for it to visit."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
from playwright.sync_api import Browser, sync_playwright

from tests.services import wait_until

# The sandbox wants an ordinary user. The rest: it asks nobody but whom the test names.
_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--no-default-browser-check",
)  # fmt: skip


def chromium() -> str | None:
    return shutil.which("chromium")


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Headless, with all its files in `folder`; afterwards no process of it is left."""
    program = chromium()
    assert program is not None
    before = set(psutil.Process().children(recursive=True))
    with sync_playwright() as driver:
        home = {
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "XDG_CACHE_HOME": str(folder),
        }
        running = driver.chromium.launch(executable_path=program, args=[*_OPTIONS], env={**os.environ, **home})
        try:
            yield running
        finally:
            running.close()
    wait_until(lambda: set(psutil.Process().children(recursive=True)) <= before, 30, "the browser's processes to end")


@contextmanager
def open_site(html: str) -> Iterator[int]:
    """Every address of it is this page. Its port, of 127.0.0.1, which is two sites: ``localhost`` is another origin."""
    page = html.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="site", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
