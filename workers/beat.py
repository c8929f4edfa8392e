"""Beat's scheduler: django-celery-beat's, which goes on ticking when the database or Redis go and come back.

The library's own ends the process when it can't read its tables, at its start and every few minutes; and tells each
message that it could not send with two stack traces, several times a second."""

from __future__ import annotations

import logging
from typing import Any

from celery.beat import SchedulingError
from django.db import close_old_connections
from django_celery_beat.schedulers import DatabaseScheduler

from nimbus_project.core.away import REDIS
from nimbus_project.core.outage import Outage
from nimbus_project.core.unforeseen import outage_of

log = logging.getLogger("nimbus.beat")

AWAY_SEC = 1.0


class BeatScheduler(DatabaseScheduler):  # type: ignore[misc]  # The library has no types.
    """For `celery beat --scheduler`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._is_set_up = False
        self._unread = Outage(log, "the schedule can't be read: the database is away")
        self._unsent = Outage(log, "nobody is told that time passes: Redis is away")
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        # Not here, where an exception would end the process: the first tick does it.
        self._schedule: dict[str, Any] = {}

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Seconds until the next one."""
        try:
            self._set_up()
            wait_sec: float = super().tick(*args, **kwargs)
        except Exception as error:
            if outage_of(error) is None:
                raise
            self._unread.began(error)
            close_old_connections()
            # What has changed was noticed and not read: it is read again.
            self._initial_read = True
            return AWAY_SEC
        self._unread.ended()
        return wait_sec

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            self._unsent.began(error)
        else:
            self._unsent.ended()
            REDIS.ended()

    def _set_up(self) -> None:
        if not self._is_set_up:
            super().setup_schedule()
            # The library logs what it could not write, and goes on without it.
            names = self.app.conf.beat_schedule.keys()
            self._is_set_up = self.Model.objects.filter(name__in=names).count() == len(names)
