"""This process as a worker: its identity, pool, running calls, and the threads beside Celery's."""

from __future__ import annotations

import gc
import logging
import math
import os
import secrets
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from typing import Any

from django.utils import timezone

from functions import artifacts, builds
from functions.models import BuildTask
from functions.selectors import spec_get
from functions.spec import FunctionSpec
from invocations import backlog, lifecycle
from invocations.models import Invocation, Report
from invocations.record import CallMessage, RunRecord
from invocations.rows import lines_of
from nimbus_project.config import MIB, Config, config
from nimbus_project.core import fleet, redis
from nimbus_project.core.unforeseen import outage_of
from workers import executions, queued, reports
from workers.artifacts import ArtifactCache
from workers.control import ControlListener
from workers.direct import DirectServer
from workers.drivers.choice import make_driver, make_toolchains
from workers.foresight import Foresight
from workers.heart import Heart
from workers.held_slots import HeldSlots
from workers.logship import LogShipper
from workers.pool import Pool, PoolLimits
from workers.sandbox import SandboxDriver
from workers.scribe import Scribe
from workers.specs import Specs
from workers.takers import Takers
from workflows import advance

log = logging.getLogger("nimbus.worker")

JOURNALS = "journal"
SOCKETS = "direct"
"""Folders under the node's own."""


class Worker:
    """One per process. Opened and closed by the Celery step; tasks reach it by `current()`."""

    def __init__(self, settings: Config, driver: SandboxDriver, threads: int) -> None:
        self.id = f"{settings.node}-{os.getpid()}-{secrets.token_hex(3)}"
        self.settings = settings
        self.driver = driver
        self.threads = threads
        self.client = redis.connection()
        self.pool = Pool(driver, PoolLimits.from_config(settings), is_tended=True)
        self.shipper = LogShipper(self.client)
        self.slots = HeldSlots(settings.lease_sec)
        self.takers = Takers(
            "invocations",
            max(1, math.floor(threads * settings.worker_async_share)),
            partial(backlog.waiting, Invocation),
            partial(queued.take_one, self),
        )
        self.reporters = Takers("reports", reports.PLACES, partial(backlog.waiting, Report), reports.take_one)
        self.advancers = Takers("executions", executions.PLACES, advance.waiting, executions.take_one)
        self.build_slots = threading.BoundedSemaphore(settings.build_parallel)
        self.toolchains = make_toolchains(settings, driver)
        self.draining = threading.Event()
        """Nothing new is begun."""
        self.closed = threading.Event()
        """What has not ended by now is given up."""
        self.calls: dict[str, dict[str, Any]] = {}
        """Synchronous runs under way, as the heartbeat tells them."""
        self.invocations: dict[str, Invocation] = {}
        """Queued runs under way, whose leases the heart renews."""
        self.builds: dict[str, BuildTask] = {}
        self.specs = Specs(spec_get, self._outgrow)
        self.foresight = Foresight(self.specs)
        self.direct = DirectServer(
            self,
            settings.var_dir.absolute() / SOCKETS / f"{self.id}.sock",
            settings,
        )
        self._heart = Heart(self)
        self._control = ControlListener(self)
        self.scribe = Scribe(self.client, settings.var_dir.absolute() / JOURNALS, self.id)

    def open(self) -> None:
        removed = self.driver.sweep()
        self.shipper.start()
        self.scribe.start()
        self.foresight.start()
        self._control.start()
        self.direct.start()
        self._heart.start()
        self.takers.start()
        self.reporters.start()
        self.advancers.start()
        log.info("worker started", extra={"worker_id": self.id, "driver": self.driver.name, "swept": removed})

    def close(self) -> None:
        """Let running work finish for a while, give the rest back, remove every sandbox."""
        self.draining.set()
        self.takers.stop()
        self.reporters.stop()
        self.advancers.stop()
        until = time.monotonic() + self.settings.drain_grace_sec
        while (self.calls or self.invocations or self.direct.runs) and time.monotonic() < until:
            time.sleep(0.02)
        self.closed.set()
        self._give_back()
        self.toolchains.close()
        for task in list(self.builds.values()):
            builds.give_back(task)
        self.pool.close()
        self.takers.join(5)
        self.reporters.join(5)
        self.advancers.join(5)
        self.driver.close()
        self._control.stop()
        self.foresight.stop()
        self._heart.stop()
        self.direct.stop()
        self.scribe.stop()
        self.shipper.stop()
        log.info("worker stopped", extra={"worker_id": self.id})

    def _give_back(self) -> None:
        for row in list(self.invocations.values()):
            try:
                lifecycle.give_back(row, timezone.now())
            except Exception as error:
                if not outage_of(error):
                    raise
                # Their leases run out.
                log.warning("runs can't be given back: the database is away")
                return

    def lines_of(self, call: CallMessage, record: RunRecord) -> bytes:
        """For the journal: what is kept of a finished run."""
        # Who repeats a call with an idempotency key gets its answer from there.
        return lines_of(record, sys.maxsize if call.is_repeatable else self.settings.kept_payload_bytes)

    def keep(self, call: CallMessage, record: RunRecord) -> None:
        """Write a finished run down, before its answer is sent. A disk that takes no more costs the record, not the
        answer."""
        try:
            self.scribe.journal.append(self.lines_of(call, record))
        except OSError:
            log.exception("a record is lost: the journal can't be written")

    def state(self) -> fleet.WorkerState:
        """The next heartbeat."""
        pool = asdict(self.pool.stats())
        return fleet.WorkerState(
            id=self.id,
            node=self.settings.node,
            pid=os.getpid(),
            driver=self.driver.name,
            started_at=self._heart.started_at,
            threads=self.threads,
            running=[*self.calls.values(), *(run.as_told() for run in self.direct.running())],
            pool=pool,
            direct=self.direct.address,
            warm=pool.pop("loaded"),
        )

    def _outgrow(self, spec: FunctionSpec) -> None:
        """A spec was read: sandboxes that were given secrets and environments of before are of no use any more."""
        self.pool.evict_before(spec.function_id, spec.generation)

    def evict(self, function_id: str) -> None:
        """Drop what belongs to a function that is gone."""
        self.specs.forget(function_id)
        self.pool.evict(function_id)


def artifact_cache(settings: Config) -> ArtifactCache:
    """This node's, shared by its workers."""
    folder = settings.var_dir.absolute() / "cache" / "artifacts"
    return ArtifactCache(folder, artifacts.fetch, max_bytes=settings.artifact_cache_mb * MIB)


_worker: Worker | None = None


def current() -> Worker:
    assert _worker is not None, "the worker is opened before its first task"
    return _worker


def open_worker(*, threads: int) -> None:
    global _worker
    settings = config()
    worker = Worker(settings, make_driver(settings, artifact_cache(settings).stage), threads)
    worker.open()
    _worker = worker
    # What is there now stays: no collection has to look at it again, in the middle of a call.
    gc.collect()
    gc.freeze()


def close_worker() -> None:
    """Idempotent: Celery stops a step that it also terminates."""
    if _worker is not None and not _worker.draining.is_set():
        _worker.close()
