"""Changing users and keys. Every change is in the audit log."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.forms.models import model_to_dict
from django.utils import timezone

from accounts import audit, directory, keys, quotas, rights
from accounts.errors import LastAdmin, UserExists, UserOwnsThings
from accounts.models import ApiKey, Member, Quota
from accounts.principal import Principal
from accounts.selectors import api_key_get, role_of, user_get
from nimbus_project.core.errors import Forbidden, InvalidRequest


def api_key_create(
    owner: User, *, name: str, role: str, expires_at: datetime | None = None, giver: str = rights.ADMIN
) -> tuple[ApiKey, str]:
    """The stored key and its text, which nobody can show again. `giver` is the role of who asks. Raises InvalidRequest
    for a role above the owner's or an end in the past, Forbidden for one above the giver's: a lesser key of a mightier
    user must not make itself a mightier one."""
    if not rights.may_give(giver, role):
        raise Forbidden(f"The role {giver} may not give out a key of the role {role}.")
    if not rights.may_give(role_of(owner), role):
        message = f"{owner.get_username()} can't have a key of this role: a key does no more than its owner."
        raise InvalidRequest(f"role: {message}", details={"role": [message]})
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidRequest("expires_at: Must be in the future.", details={"expires_at": ["Must be in the future."]})
    text = keys.make(secrets.token_bytes(keys.CHANCE_BYTES))
    with transaction.atomic():
        row = ApiKey.objects.create(
            owner=owner,
            name=name,
            prefix=text.prefix,
            secret_sha256=keys.digest(text.secret),
            role=role,
            expires_at=expires_at,
        )
        audit.record("key.create", "key", row.pk, name, after=_key_state(row))
    return row, str(text)


def api_key_revoke(principal: Principal, reference: str) -> ApiKey:
    """Refused from now on, here at once and in other processes within a message's travel. Revoking twice changes
    nothing. Raises ApiKeyNotFound."""
    with transaction.atomic():
        row = api_key_get(principal, reference, for_update=True)
        if row.revoked_at is None:
            before = _key_state(row)
            row.revoked_at = timezone.now()
            row.save(update_fields=["revoked_at"])
            audit.record("key.revoke", "key", row.pk, row.name, before=before, after=_key_state(row))
        directory.changed(row.prefix)
    return row


def user_create(*, name: str, role: str, password: str = "", email: str = "") -> User:
    """A member; without a password it has keys only. Raises UserExists, InvalidRequest for a weak password."""
    user = get_user_model()(username=name, email=email)
    _set_password(user, password)
    user_store(user, role)
    return user


def user_store(user: User, role: str) -> None:
    """Save a new user, whose password is set, as a member. Raises UserExists."""
    name = user.get_username()
    _set_flags(user, role)
    try:
        with transaction.atomic():
            user.save()
            user.member = Member.objects.create(user=user, role=role)
            audit.record("user.create", "user", user.pk, name, after=_user_state(user))
    except IntegrityError as error:
        raise UserExists(f"A user named {name} exists already.") from error


def user_update(reference: str, **given: Any) -> User:
    """Change `role`, `email`, `active`, `password`. All processes see another role at once. Raises UserNotFound,
    LastAdmin, InvalidRequest."""
    with transaction.atomic():
        _lock_admins()
        user = user_get(reference, for_update=True)
        before = _user_state(user)
        if "role" in given:
            _set_role(user, given["role"])
        if "active" in given:
            user.is_active = given["active"]
        if "email" in given:
            user.email = given["email"]
        if given.get("password"):
            _set_password(user, given["password"])
        user.save()
        if before["role"] == rights.ADMIN:
            _keep_an_admin()
        after = _user_state(user) | ({"password": "new"} if given.get("password") else {})
        audit.record("user.update", "user", user.pk, user.get_username(), before=before, after=after)
        directory.changed(f"user:{user.pk}")
    return user


def password_changed(reference: str) -> None:
    """Log a change of password that was not made here. In its transaction."""
    user = user_get(reference)
    state = {"password": "old"}
    audit.record("user.update", "user", user.pk, user.get_username(), before=state, after={"password": "new"})


def user_delete(principal: Principal, reference: str) -> None:
    """The user and its keys. What it owns would become everybody's: that is refused. Raises UserNotFound,
    UserOwnsThings, LastAdmin, Forbidden for oneself."""
    with transaction.atomic():
        _lock_admins()
        user = user_get(reference, for_update=True)
        if user.pk == principal.user_id:
            raise Forbidden("Nobody can delete the account in use. Let another admin do it.")
        owned = _left_without_owner(user)
        if owned:
            raise UserOwnsThings(
                f"{user.get_username()} owns {' and '.join(owned)}. Delete those first, or deactivate the user instead."
            )
        before = _user_state(user)
        user_id, name = user.pk, user.get_username()
        user.delete()
        if before["role"] == rights.ADMIN:
            _keep_an_admin()
        audit.record("user.delete", "user", user_id, name, before=before)
        directory.changed(f"user:{user_id}")


def quota_save(row: Quota, before: dict[str, Any]) -> None:
    """Store changed limits; all processes see them at once. `before`: the changed fields as they were."""
    with transaction.atomic():
        row.save()
        after = {name: getattr(row, "owner_id" if name == "owner" else name) for name in before}
        audit.record("quota.update", "quota", row.pk, str(row), before=before, after=after)
        quotas.changed()


def quota_delete(row: Quota) -> None:
    """The owner has everybody's limits again, or nobody any."""
    with transaction.atomic():
        audit.record("quota.delete", "quota", row.pk, str(row), before=model_to_dict(row))
        row.delete()
        quotas.changed()


def _left_without_owner(user: User) -> list[str]:
    """Plural names of what has this user as its owner and would outlive it, in whatever app."""
    found = []
    for relation in user._meta.related_objects:
        if relation.on_delete is models.SET_NULL:
            rows = relation.related_model._default_manager.filter(**{relation.field.name: user})
            if rows.exists():
                found.append(str(relation.related_model._meta.verbose_name_plural))
    return found


def _lock_admins() -> None:
    """One change of users at a time, seen from the admins' side: two admins who demote each other at once would
    otherwise both find the other one still there."""
    list(get_user_model().objects.select_for_update().filter(is_superuser=True).order_by("pk").values_list("pk"))


def _keep_an_admin() -> None:
    """Raises LastAdmin when the change leaves nobody who could undo it."""
    if not get_user_model().objects.filter(is_active=True, is_superuser=True).exists():
        raise LastAdmin("This is the last active admin. Make another one first.")


def _set_role(user: User, role: str) -> None:
    member, _ = Member.objects.update_or_create(user=user, defaults={"role": role})
    user.member = member
    _set_flags(user, role)


def _set_flags(user: User, role: str) -> None:
    """Django's admin site is for admins."""
    user.is_staff = user.is_superuser = role == rights.ADMIN


def _set_password(user: User, password: str) -> None:
    if not password:
        user.set_unusable_password()
        return
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidRequest(f"password: {error.messages[0]}", details={"password": error.messages}) from error
    user.set_password(password)


def _key_state(row: ApiKey) -> dict[str, Any]:
    return {
        "name": row.name,
        "prefix": row.prefix,
        "owner": row.owner.get_username(),
        "role": row.role,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
    }


def _user_state(user: User) -> dict[str, Any]:
    return {"name": user.get_username(), "email": user.email, "role": role_of(user), "active": user.is_active}
