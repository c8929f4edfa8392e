"""What can be wrong with a request about users and keys."""

from __future__ import annotations

from nimbus_project.core.errors import Conflict, NotFound


class UserNotFound(NotFound):
    code = "user_not_found"


class ApiKeyNotFound(NotFound):
    code = "api_key_not_found"


class UserExists(Conflict):
    code = "user_exists"


class UserOwnsThings(Conflict):
    code = "user_owns_things"


class LastAdmin(Conflict):
    code = "last_admin"


class AmbiguousName(Conflict):
    """An administrator sees several owners' things of one name."""

    code = "ambiguous_name"
