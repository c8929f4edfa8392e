"""The direct lane's worker end: an event loop in a thread of this process, beside Celery's.

It shares pool and leases with the queue lane. A call on a warm sandbox crosses no other thread: frame in, INVOKE,
RESULT, record into the journal, frame out. What may wait (reading a spec, loading code, finding out what a runner died
of) is done on a few threads, and comes back to the loop.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from invocations.outcome import Outcome
from invocations.record import CallMessage
from nimbus_project.config import Config, host_and_port
from nimbus_project.core import mutual_tls, unix_socket, wire
from workers.direct_run import Run
from workers.direct_socket import Connection
from workers.direct_watch import Watch
from workers.exchange import Broken
from workers.pool import Waiter
from workers.sandbox import SandboxError
from workers.tally import Tally
from workers.unrun import unavailable

if TYPE_CHECKING:
    from workers.worker import Worker

log = logging.getLogger("nimbus.direct")

THREADS = 8
TICK_SEC = 0.05
"""How late a run that is out of time may be noticed."""
TELL_SEC = 0.2
"""How late a run may be counted into the metrics."""
STOP_SEC = 5.0
SWITCH_SEC = 0.0005
"""How long another thread may keep the loop from running (sys.setswitchinterval): Python's own 5 ms would be five calls
that wait."""


class DirectServer:
    """One per worker process. All but `start`, `stop` and `running` is the loop's alone."""

    def __init__(self, worker: Worker, socket_path: Path, settings: Config) -> None:
        self.worker = worker
        self.backlog = settings.direct_backlog
        self.address: dict[str, str] = {}
        self.runs: dict[int, Run] = {}
        """By `id`; those that wait for a sandbox included."""
        self._socket_path = socket_path
        self._settings = settings
        self._loop = uvloop.new_event_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="nimbus-direct-aid")
        self._thread = threading.Thread(target=self._serve, name="nimbus-direct", daemon=True)
        self._ident = 0
        """Of the thread, once it serves."""
        self._servers: list[asyncio.AbstractServer] = []
        """Kept here: a server that nothing refers to stops listening."""
        self._connections: set[Connection] = set()
        self._answered: set[Connection] = set()
        self._flushing = False
        self._tally = Tally()
        self._telling = False
        self._ticking = False
        self._watch = Watch(self._proceed)

    def start(self) -> None:
        """Listen. Raises OSError."""
        sys.setswitchinterval(SWITCH_SEC)
        self._loop.run_until_complete(self._open())
        self._thread.start()

    def stop(self) -> None:
        """Take no more calls and end; those under way have had their time by now."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_SEC)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._socket_path.unlink(missing_ok=True)

    def running(self) -> list[Run]:
        """Those under way, from any thread."""
        return list(self.runs.values())

    async def _open(self) -> None:
        self._socket_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(self._socket_path.parent)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # It gets its name when it listens: another worker that starts now would take it for one that was left.
        unborn = self._socket_path.with_suffix(".new")
        unix_socket.bind(listener, unborn)
        unborn.chmod(0o600)
        listener.listen(64)
        unborn.rename(self._socket_path)
        self._servers = [await self._loop.create_unix_server(partial(Connection, self), sock=listener, backlog=64)]
        self.address = {"unix": str(self._socket_path)}
        self._loop.add_reader(self._watch.fileno(), self._watch.look)
        if self._settings.direct_listen:
            await self._open_to_nodes(self._settings)

    async def _open_to_nodes(self, settings: Config) -> None:
        if not mutual_tls.is_configured(settings):
            log.error(
                "NIMBUS_DIRECT_LISTEN needs NIMBUS_DIRECT_TLS_CA, _CERT and _KEY: other nodes can't call this one"
            )
            return
        tls = mutual_tls.context(settings, ssl.Purpose.CLIENT_AUTH)
        host, port = host_and_port(settings.direct_listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, reuse_port=False)
        self._servers.append(await self._loop.create_server(partial(Connection, self), sock=listener, ssl=tls))
        self.address["tcp"] = settings.direct_address(listener.getsockname()[1])

    def _serve(self) -> None:
        self._ident = threading.get_ident()
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self.flush()
        self._tally.write()
        self._loop.run_until_complete(self._close())
        self._loop.close()
        self._watch.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.close()
        # What is closed says so in the loop's next turns.
        for _ in range(3):
            await asyncio.sleep(0)
        self._servers.clear()

    # -- connections

    def joined(self, connection: Connection) -> None:
        self._connections.add(connection)

    def left(self, connection: Connection) -> None:
        """Its runs go on, and are recorded."""
        self._connections.discard(connection)
        self._answered.discard(connection)

    def take(self, connection: Connection, frame: wire.Frame) -> None:
        """One call."""
        _, number, head, event = frame
        if self.worker.draining.is_set() or len(self.runs) >= self.backlog:
            connection.busy(number)
            self._answer_soon(connection)
            return
        try:
            call = CallMessage.from_head(head)
        except (ValueError, TypeError):
            log.error("a call can't be read: web and worker are of different releases")
            connection.busy(number)
            self._answer_soon(connection)
            return
        run = Run(self.worker, connection, number, call, event)
        self.runs[id(run)] = run
        spec = self.worker.specs.known(call.function_id, call.version, call.environment, call.generation)
        if spec is None:
            self._aid(run, run.read_spec, self._place)
        else:
            run.spec = spec
            self._place(run, None)

    # -- one run, step by step

    def _place(self, run: Run, outcome: Outcome | None) -> None:
        """It has its spec: find it a sandbox."""
        if outcome is not None:
            self._finish(run, outcome)
            return
        pool, spec = self.worker.pool, run.spec
        try:
            lease = pool.take_warm(spec)
            if lease is None:
                pool.ask(spec, run.start_before, partial(self._settled, run))
                return
        except SandboxError as error:
            self._finish(run, unavailable(str(error)))
            return
        run.lease = lease
        self._begin(run)

    def _settled(self, run: Run, waiter: Waiter) -> None:
        """From any thread: a sandbox, or none."""
        if threading.get_ident() == self._ident:
            self._granted(run, waiter)
        else:
            self._loop.call_soon_threadsafe(self._granted, run, waiter)

    def _granted(self, run: Run, waiter: Waiter) -> None:
        try:
            run.lease = waiter.result()
        except SandboxError as error:
            log.warning("no sandbox", extra={"function": run.call.function_name, "reason": str(error)})
            self._finish(run, unavailable(str(error)))
            return
        if run.lease.slot.loaded:
            self._begin(run)
        else:
            self._aid(run, run.load, self._loaded)

    def _loaded(self, run: Run, outcome: Outcome | None) -> None:
        if outcome is None:
            self._begin(run)
        else:
            self._finish(run, outcome)

    def _begin(self, run: Run) -> None:
        try:
            outcome = run.begin(self._watch)
        except Broken as broken:
            self._break_off(run, broken.error)
            return
        except SandboxError as error:
            self._finish(run, unavailable(str(error)))
            return
        if outcome is not None:
            self._end(run, outcome)
            return
        run.is_watched = True
        if not run.exchange.is_sent:
            run.is_writing = True
            self._loop.add_writer(run.fd, self._proceed, run)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK_SEC, self._tick)

    def _proceed(self, run: Run) -> None:
        if not run.is_watched:
            return
        try:
            outcome = run.exchange.proceed()
        except Broken as broken:
            self._unwatch(run)
            self._break_off(run, broken.error)
            return
        if outcome is not None:
            self._unwatch(run)
            self._end(run, outcome)
        elif run.is_writing and run.exchange.is_sent:
            self._stop_writing(run)

    def _unwatch(self, run: Run) -> None:
        run.is_watched = False
        self._watch.forget(run)
        if run.is_writing:
            self._stop_writing(run)

    def _stop_writing(self, run: Run) -> None:
        run.is_writing = False
        self._loop.remove_writer(run.fd)

    def _break_off(self, run: Run, error: Exception) -> None:
        self._aid(run, partial(run.break_off, error), self._broken_off)

    def _broken_off(self, run: Run, outcome: Outcome | None) -> None:
        self._end(run, outcome or unavailable("The run broke off."))

    def _tick(self) -> None:
        """Runs whose time is over."""
        now = time.monotonic()
        under_way = [run for run in self.runs.values() if run.is_watched]
        for run in under_way:
            if run.deadline <= now:
                self._unwatch(run)
                self._break_off(run, TimeoutError("deadline passed"))
        self._ticking = bool(under_way)
        if self._ticking:
            self._loop.call_later(TICK_SEC, self._tick)

    def _end(self, run: Run, outcome: Outcome) -> None:
        """The handler has run, or tried to."""
        self._finish(run, run.exchanged(outcome))

    def _finish(self, run: Run, outcome: Outcome) -> None:
        """Record, then answer; the sandbox goes on to the next caller first."""
        del self.runs[id(run)]
        try:
            head, lines = run.finish(outcome)
        except Exception:
            # Somebody waits, and the sandbox is to be given back, whatever it was.
            log.exception("a run's record can't be made", extra={"request_id": run.call.request_id})
            outcome = unavailable("The record of this run could not be made. The worker's log says why.")
            head, lines = run.finish(outcome)
        self.worker.scribe.journal.add(lines)
        run.connection.answer(run.number, head, outcome.output or b"")
        self._answer_soon(run.connection)
        run.count(self._tally, outcome)
        if not self._telling:
            self._telling = True
            self._loop.call_later(TELL_SEC, self._tell)
        run.release()

    def _answer_soon(self, connection: Connection) -> None:
        self._answered.add(connection)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """All records made in this turn of the loop into the journal, then the answers on their way."""
        self._flushing = False
        try:
            self.worker.scribe.journal.flush()
        except OSError:
            log.exception("records wait in memory: the journal can't be written")
        for connection in self._answered:
            connection.flush()
        self._answered.clear()

    def _tell(self) -> None:
        self._telling = False
        self._tally.write()

    def _aid(self, run: Run, work: Callable[[], Outcome | None], then: Callable[[Run, Outcome | None], None]) -> None:
        """Do what may wait on a thread, then go on in the loop."""

        def do() -> None:
            try:
                outcome = work()
            except Exception:
                log.exception("a call could not be run", extra={"request_id": run.call.request_id})
                outcome = unavailable("The worker could not run this call. Its log says why. Try again.")
            self._back(then, run, outcome)

        try:
            self._threads.submit(do)
        except RuntimeError:
            # Stopping.
            self._finish(run, unavailable("This worker is stopping. Try again."))

    def _back(self, then: Callable[..., Any], run: Run, outcome: Outcome | None) -> None:
        try:
            self._loop.call_soon_threadsafe(then, run, outcome)
        except RuntimeError:
            log.warning("a run ended after its worker's loop", extra={"request_id": run.call.request_id})


def _sweep(folder: Path) -> None:
    """Remove the sockets that workers have left which were killed: nobody answers there."""
    for path in folder.glob("*.sock"):
        try:
            unix_socket.connect(path).close()
        except FileNotFoundError:
            continue
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
