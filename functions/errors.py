"""What can be wrong with a request about functions."""

from __future__ import annotations

from nimbus_project.core.errors import Conflict, NotFound


class FunctionNotFound(NotFound):
    code = "function_not_found"


class FunctionExists(Conflict):
    code = "function_exists"
