"""The run's own world: a temporary folder, a real Redis, a real PostgreSQL (else SQLite), and their end.

The addresses are fixed here, before Django reads its settings. The servers start when the first test needs them.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.platform import Platform, PlatformOptions, open_platform
from tests.requirements import require
from tests.services import PostgresServer, RedisServer, missing_images, missing_index

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REQUIREMENTS = ("docker", "postgres", "redis", "browser", "index", "go", "rust", "c")

# Its socket paths must stay short, so not below pytest's own temporary folder. Others may pass through it: the
# database server runs as another user.
_SCRATCH = Path(tempfile.mkdtemp(prefix="nimbus-test-"))
_SCRATCH.chmod(0o711)
(_SCRATCH / "redis").mkdir()

_redis = RedisServer(_SCRATCH / "redis")
# Nothing of it need outlive the machine.
_postgres = PostgresServer(_SCRATCH / "pg", fsync=False)
_uses_postgres = os.environ.get("NIMBUS_TEST_DATABASE", "postgres") == "postgres" and PostgresServer.missing() is None


def _settle_environment() -> None:
    """Nothing of the caller's own installation reaches the tests."""
    for name in [name for name in os.environ if name.startswith("NIMBUS_") and not name.startswith("NIMBUS_TEST_")]:
        del os.environ[name]
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="nimbus_project.settings",
        NIMBUS_VAR_DIR=str(_SCRATCH / "var"),
        NIMBUS_REDIS_URL=_redis.url,
        NIMBUS_SECRET_KEY="only-for-tests",
        # Workers of the tests have a folder of their own, so the key can't come from a file in it.
        NIMBUS_SECRETS_KEY="b25seS1mb3ItdGVzdHMtb25seS1mb3ItdGVzdHMtISE=",
    )
    os.environ["DATABASE_URL"] = (
        _postgres.url("nimbus") if _uses_postgres else f"sqlite:///{_SCRATCH / 'nimbus.sqlite3'}"
    )


_settle_environment()

import django  # noqa: E402  the addresses come first

django.setup()


@pytest.fixture(scope="session")
def redis_server() -> RedisServer:
    """The Redis behind `config().redis`, running."""
    require("redis", RedisServer.missing())
    if not _redis.running:
        _redis.start()
    return _redis


@pytest.fixture(scope="session")
def postgres_server() -> PostgresServer:
    """A PostgreSQL of this run, running; skips the test where there is none."""
    require("postgres", PostgresServer.missing())
    if not _postgres.running:
        _postgres.start()
    return _postgres


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request: pytest.FixtureRequest) -> None:
    """Called by pytest-django before it makes the test database."""
    from django.conf import settings

    if _uses_postgres:
        request.getfixturevalue("postgres_server")
        return
    # A file, as in production: an in-memory database has other locks.
    settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = str(_SCRATCH / "test.sqlite3")


@pytest.fixture(autouse=True)
def _fresh_redis(request: pytest.FixtureRequest) -> None:
    """A test that touches the database or Redis finds Redis running and empty."""
    wants = {"redis_server", "db", "transactional_db", "live_server", "client", "admin_client"}
    if request.node.get_closest_marker("django_db") is None and wants.isdisjoint(request.fixturenames):
        return
    request.getfixturevalue("redis_server")
    from nimbus_project.core.redis import connection

    connection().flushall()


@pytest.fixture(scope="session", autouse=True)
def _empty_quickly() -> None:
    """After tests with real commits, where the database is PostgreSQL; see `tests.tables`."""
    if _uses_postgres:
        from django.test import TransactionTestCase

        from tests import tables

        TransactionTestCase._fixture_teardown = lambda _: tables.empty_all()  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _prune_audit_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests with real commits have their tables emptied afterwards; SQLite does that by deleting, which the triggers of
    the audit log refuse. So its entries go the way that they may."""
    marker = request.node.get_closest_marker("django_db")
    real_commits = marker is not None and marker.kwargs.get("transaction", False)
    if _uses_postgres or (not real_commits and "transactional_db" not in request.fixturenames):
        yield
        return
    # Asked for here, it ends after this one.
    request.getfixturevalue("transactional_db")
    yield
    from datetime import UTC, datetime

    from accounts import audit

    audit.prune(datetime.max.replace(tzinfo=UTC))


def _leave_nothing() -> None:
    for server in (_redis, _postgres):
        if server.running:
            server.stop()
    shutil.rmtree(_SCRATCH, ignore_errors=True)


# Also where pytest ends before its hooks: a wrong argument, an error in another conftest.
atexit.register(_leave_nothing)


def pytest_configure() -> None:
    """SIGTERM ends a run as Ctrl-C does: fixtures are torn down, what they started is ended."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """After the last test, after a failure, after Ctrl-C."""
    _leave_nothing()


def pytest_report_header() -> str:
    return f"database: {'PostgreSQL' if _uses_postgres else 'SQLite'}, own Redis, in {_SCRATCH}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests were skipped for want of what."""
    reasons = [_reason(report) for report in terminalreporter.stats.get("skipped", [])]
    words = Counter(_word(reason) for reason in reasons)
    told = ", ".join(f"{word} {words[word]}" for word in (*REQUIREMENTS, "other") if words[word])
    terminalreporter.write_line(f"skipped for want of: {told or 'nothing'}")


def _word(reason: str) -> str:
    return next((word for word in REQUIREMENTS if reason.startswith(f"{word}:")), "other")


def _reason(report: object) -> str:
    longrepr = getattr(report, "longrepr", "")
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick ones first: real processes take their time. Last of integration those that share a worker, which takes what
    others put into the queue."""
    order = ("architecture", "unit", "integration", "docker", "acceptance")

    def place(item: pytest.Item) -> tuple[int, bool]:
        folder = item.path.relative_to(item.config.rootpath / "tests").parts[0]
        return order.index(folder) if folder in order else 0, "worker_process" in getattr(item, "fixturenames", ())

    items.sort(key=place)


@pytest.fixture(scope="session")
def rust_path() -> str:
    """A PATH whose rustc makes WebAssembly: this machine's, else with the one of the builder's image before it. Without
    Docker the PATH as it is: what the builder then says it lacks is the reason to skip."""
    from tests.rust_toolchain import copy_rust, path_with, rust_on_path

    programs = None if rust_on_path() else copy_rust(_SCRATCH / "rust")
    return os.environ["PATH"] if programs is None else path_with(programs)


@pytest.fixture(scope="module")
def platform(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Platform]:
    """The platform as processes; parametrize with `PlatformOptions` for another driver or database."""
    options: PlatformOptions = getattr(request, "param", PlatformOptions())
    if options.driver == "docker":
        require("docker", missing_images(*options.images))
    if options.index:
        require("index", missing_index())
    has_postgres = PostgresServer.missing() is None
    uses_postgres = options.database == "postgres" or (options.database == "auto" and has_postgres)
    if options.rust:
        options = replace(options, env={**options.env, "PATH": request.getfixturevalue("rust_path")})
    folder = Path(tempfile.mkdtemp(prefix="p", dir=_SCRATCH))
    postgres = (lambda: request.getfixturevalue("postgres_server")) if uses_postgres else None
    with open_platform(folder, options, postgres) as running:
        yield running


@pytest.fixture(scope="module")
def browser(scratch: Path) -> Iterator[Browser]:
    """A real one, for the pages of a module. Its driver runs an event loop in this thread: until it ends, Django takes
    no query from here, so such a module asks a platform of processes."""
    from tests.browser import chromium, open_browser

    require("browser", None if chromium() else "no chromium on the PATH (Debian: apt-get install chromium)")
    folder = Path(tempfile.mkdtemp(prefix="b", dir=scratch))
    with open_browser(folder) as running:
        yield running
    shutil.rmtree(folder)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of a visitor whom nothing is known of: no cookies, no cache."""
    with browser.new_context() as visitor:
        yield visitor.new_page()


@pytest.fixture(scope="session")
def scratch() -> Path:
    """A folder with a short path, for sockets; removed after the run."""
    folder = _SCRATCH / "s"
    folder.mkdir(exist_ok=True)
    return folder
