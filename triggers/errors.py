"""What can be wrong with a request about triggers."""

from __future__ import annotations

from nimbus_project.core.errors import Conflict, NotFound


class ScheduleNotFound(NotFound):
    code = "schedule_not_found"


class ScheduleExists(Conflict):
    code = "schedule_exists"


class ScheduleIsOwn(Conflict):
    """It stands for the function's own `cron_expression`."""

    code = "schedule_is_own"
