"""Reading users, keys and the audit log. No writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, User
from django.db.models import Q, QuerySet

from accounts import rights
from accounts.errors import ApiKeyNotFound, UserNotFound
from accounts.models import ApiKey, AuditEntry
from accounts.principal import Principal
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.ids import as_uuid
from nimbus_project.core.pagination import Cursor, cursor_from, moment_from

# Above it SQLite and PostgreSQL refuse the number itself.
_MAX_ID = 2**31 - 1


def role_of(user: AbstractBaseUser) -> str:
    """A superuser is an admin whatever else; who is inactive or no member has no role: the empty string."""
    member = getattr(user, "member", None)
    is_superuser = getattr(user, "is_superuser", False)
    return role_from(is_active=user.is_active, is_superuser=is_superuser, role=member.role if member else "")


def role_from(*, is_active: bool, is_superuser: bool, role: str) -> str:
    """As `role_of`, of the columns; `role` of the member."""
    if not is_active:
        return ""
    return rights.ADMIN if is_superuser else role


def principal_of(user: AbstractBaseUser, address: str) -> Principal:
    """The principal of somebody who has logged in."""
    return Principal(user_id=user.pk, name=user.get_username(), role=role_of(user), address=address)


def users() -> QuerySet[User]:
    return get_user_model().objects.select_related("member").order_by("pk")


def user_get(reference: str, *, for_update: bool = False) -> User:
    """By id or name. Raises UserNotFound. `for_update` needs a transaction."""
    rows = get_user_model().objects.select_for_update() if for_update else users()
    number = int(reference) if reference.isascii() and reference.isdigit() and len(reference) < 11 else None
    where = Q(username=reference)
    if number is not None and number <= _MAX_ID:
        where |= Q(pk=number)
    # An id wins over a user that is named like one.
    found = [] if "\0" in reference else sorted(rows.filter(where), key=lambda user: user.pk != number)
    if not found:
        raise UserNotFound("There is no user of this id or name.")
    return found[0]


def api_keys(principal: Principal) -> QuerySet[ApiKey]:
    """An admin's list has all keys, everybody else's their own."""
    rows = ApiKey.objects.select_related("owner")
    return rows if principal.is_admin else rows.filter(owner_id=principal.user_id or 0)


def api_key_get(principal: Principal, reference: str, *, for_update: bool = False) -> ApiKey:
    """By id or prefix. Raises ApiKeyNotFound, also for a key of somebody else."""
    uuid = as_uuid(reference)
    if uuid is None and not reference.isalnum():
        raise ApiKeyNotFound("There is no API key of this id.")
    rows = api_keys(principal)
    if for_update:
        rows = rows.select_for_update(of=("self",))
    row = rows.filter(Q(pk=uuid) if uuid else Q(prefix=reference)).first()
    if row is None:
        raise ApiKeyNotFound("There is no API key of this id.")
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """What `GET /audit` can ask for. Empty means any."""

    actor: str = ""
    action: str = ""
    """``function.update``, or ``function.`` for all of that kind."""
    object: str = ""
    """Id or name."""
    object_type: str = ""
    before: datetime | None = None
    after: datetime | None = None
    cursor: Cursor | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> AuditFilter:
        """Raises InvalidRequest."""
        texts = {name: query.get(name, "") for name in ("actor", "action", "object", "object_type")}
        for name, text in texts.items():
            if "\0" in text:
                message = "Must not contain a NUL character."
                raise InvalidRequest(f"{name}: {message}", details={name: [message]})
        return cls(
            **texts,
            before=moment_from(query, "before"),
            after=moment_from(query, "after"),
            cursor=cursor_from(query),
        )


def audit_entries(wanted: AuditFilter) -> QuerySet[AuditEntry]:
    """Newest first."""
    rows = AuditEntry.objects.order_by("-at", "-id")
    if wanted.actor:
        rows = rows.filter(actor=wanted.actor)
    if wanted.action:
        rows = rows.filter(**{"action__startswith" if wanted.action.endswith(".") else "action": wanted.action})
    if wanted.object:
        rows = rows.filter(Q(object_id=wanted.object) | Q(object_name=wanted.object))
    if wanted.object_type:
        rows = rows.filter(object_type=wanted.object_type)
    if wanted.before:
        rows = rows.filter(at__lt=wanted.before)
    if wanted.after:
        rows = rows.filter(at__gt=wanted.after)
    if wanted.cursor:
        at, row_id = wanted.cursor
        rows = rows.filter(Q(at__lt=at) | Q(at=at, id__lt=row_id))
    return rows
