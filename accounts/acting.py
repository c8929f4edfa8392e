"""In whose name the platform acts where no request asks for it: with the rights that the function's owner has today."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser

from accounts.principal import NOBODY, Principal
from accounts.rights import ROLES_WITH, Right
from accounts.selectors import principal_of, role_of
from nimbus_project.core.errors import Forbidden


def owner(owner_id: int | None) -> Principal:
    """Nobody's functions are run by the platform itself. Raises Forbidden when the owner may call functions no more:
    another role, deactivated."""
    if owner_id is None:
        return Principal(name="nimbus")
    user = get_user_model().objects.select_related("member").filter(pk=owner_id).first()
    who = principal_of(user, "") if user is not None else NOBODY
    if who.role not in ROLES_WITH[Right.INVOKE]:
        raise Forbidden("The owner of the function may not call functions any more.")
    return who


def may_be_called(owner: AbstractBaseUser | None) -> bool:
    """Whether strangers may call what is this user's (with its `member`), as `owner` decides; nobody's they may."""
    return owner is None or role_of(owner) in ROLES_WITH[Right.INVOKE]
