"""Whose rows somebody sees, as a condition for the database. Default deny: without a role, none.

Put into the selectors that all routes go through, so that a row of another owner is not found in the very query that
would not find a missing one: same answer, same time.
"""

from __future__ import annotations

from django.db.models import Q

from accounts.principal import principal_var

_NOTHING = Q(pk__in=())


def visible(prefix: str = "") -> Q:
    """For a model with `owner` and `shared`, or one that reaches it by `prefix` (``function__``). As
    `Principal.may_see`, for the principal of this request."""
    who = principal_var.get()
    if who.is_admin:
        return Q()
    if not who.role:
        return _NOTHING
    own = Q(**{f"{prefix}owner_id": who.user_id}) if who.user_id is not None else Q()
    return Q(**{f"{prefix}owner_id": None}) | Q(**{f"{prefix}shared": True}) | own


def owned(prefix: str = "") -> Q:
    """For a model with an `owner` (or `owner_id`) and nothing to share it by, or one that reaches it by `prefix`: one's
    own and nobody's."""
    who = principal_var.get()
    if who.is_admin:
        return Q()
    if not who.role:
        return _NOTHING
    own = Q(**{f"{prefix}owner_id": who.user_id}) if who.user_id is not None else Q()
    return Q(**{f"{prefix}owner_id": None}) | own
