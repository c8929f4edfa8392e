"""What can be wrong with a request about workflows."""

from __future__ import annotations

from nimbus_project.core.errors import Conflict, NotFound


class WorkflowNotFound(NotFound):
    code = "workflow_not_found"


class WorkflowVersionNotFound(NotFound):
    code = "workflow_version_not_found"


class WorkflowExists(Conflict):
    code = "workflow_exists"


class ExecutionNotFound(NotFound):
    code = "execution_not_found"


class StepNotFound(NotFound):
    code = "step_not_found"


class ExecutionExists(Conflict):
    """One of this name, with another input or ended."""

    code = "execution_exists"


class ExecutionEnded(Conflict):
    code = "execution_ended"
