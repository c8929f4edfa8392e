"""What can be wrong with a request about functions."""

from __future__ import annotations

from nimbus_project.core.errors import Conflict, InvalidRequest, NotFound


class FunctionNotFound(NotFound):
    code = "function_not_found"


class FunctionExists(Conflict):
    code = "function_exists"


class VersionNotFound(NotFound):
    code = "version_not_found"


class VersionInUse(Conflict):
    code = "version_in_use"


class VersionNotReady(Conflict):
    """It is still being built, or its build has failed."""

    code = "version_not_ready"


class AliasNotFound(NotFound):
    code = "alias_not_found"


class AliasExists(Conflict):
    code = "alias_exists"


class AliasBusy(Conflict):
    """A rollout moves its traffic."""

    code = "rollout_in_progress"


class RolloutNotFound(NotFound):
    code = "rollout_not_found"


class RolloutEnded(Conflict):
    """What was asked is not possible in the state it is in."""

    code = "rollout_state"


class EnvironmentNotFound(NotFound):
    code = "environment_not_found"


class EnvironmentExists(Conflict):
    code = "environment_exists"


class EnvironmentInUse(Conflict):
    code = "environment_in_use"


class SecretNotFound(NotFound):
    code = "secret_not_found"


class LayerNotFound(NotFound):
    code = "layer_not_found"


class LayerExists(Conflict):
    code = "layer_exists"


class LayerInUse(Conflict):
    code = "layer_in_use"


class RouteTaken(Conflict):
    """Another function has this address and method."""

    code = "route_taken"


class TemplateNotFound(NotFound):
    code = "template_not_found"


class InvalidEvent(InvalidRequest):
    """It does not fit the function's input_schema."""

    code = "invalid_event"
