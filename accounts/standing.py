"""In whose name something acts that was set up earlier: a rule, a replay, an alert.

It has the rights that its owner has today, and never more than the key had that it was set up with: a developer's key
of an administrator must not make a rule that does what only administrators may. What nobody owns (embedded mode) sees
what everybody sees and nothing else, for everybody may change it.
"""

from __future__ import annotations

from django.contrib.auth import get_user_model

from accounts.principal import Principal
from accounts.rights import DEVELOPER, ROLES_WITH, Right, effective
from accounts.selectors import role_of


def principal_of(owner_id: int | None, role: str) -> Principal:
    """With an empty role, which may do nothing, for an owner who is gone or inactive."""
    if owner_id is None:
        return nobodys()
    user = get_user_model().objects.select_related("member").filter(pk=owner_id).first()
    if user is None:
        return Principal(user_id=owner_id, role="")
    return someones(owner_id, user.get_username(), role, role_of(user))


def nobodys() -> Principal:
    """For what nobody owns."""
    return Principal(name="nimbus", role=DEVELOPER)


def someones(owner_id: int, name: str, role: str, today: str) -> Principal:
    """Of this owner, whose role is `today`, for what was set up with a key of `role`."""
    return Principal(user_id=owner_id, name=name, role=effective(role, today))


def may_call(who: Principal) -> bool:
    """Whether it may call functions at all."""
    return who.role in ROLES_WITH[Right.INVOKE]
