"""Shapes of requests and answers about users, keys and the audit log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.utils import timezone
from rest_framework import serializers

from accounts.models import ApiKey, AuditEntry, Role
from accounts.principal import Principal
from accounts.selectors import role_of

MAX_EXPIRES_DAYS = 3650


class StrictText(serializers.CharField):
    """A string and nothing else: DRF's own would also take 12 and make "12" of it."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Must be a string.")
        value: str = super().to_internal_value(data)
        return value


class StrictSerializer(serializers.Serializer):
    """Refuses fields that it does not have."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(str(name)[:64] for name in set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({name: ["There is no such field."] for name in unknown})
        return super().to_internal_value(data)


class ApiKeyCreateSerializer(StrictSerializer):
    name = StrictText(max_length=64)
    role = serializers.ChoiceField(choices=Role.choices, required=False, help_text="default: the owner's")
    user = StrictText(
        required=False, max_length=150, help_text="id or name of the owner; admins only, default: oneself"
    )
    expires_days = serializers.IntegerField(required=False, min_value=1, max_value=MAX_EXPIRES_DAYS)
    expires_at = serializers.DateTimeField(required=False, help_text="instead of expires_days")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "expires_days" in attrs:
            if "expires_at" in attrs:
                raise serializers.ValidationError({"expires_at": ["Give either expires_days or expires_at."]})
            attrs["expires_at"] = timezone.now() + timedelta(days=attrs.pop("expires_days"))
        return attrs


class ApiKeySerializer(serializers.Serializer):
    """A key in an answer: never its secret."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="the part that may be shown")
    user_id = serializers.IntegerField()
    user = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    active = serializers.BooleanField(help_text="neither revoked nor expired")
    expires_at = serializers.DateTimeField(required=False)
    revoked_at = serializers.DateTimeField(required=False)
    last_used_at = serializers.DateTimeField(required=False, help_text="up to a minute old")
    created_at = serializers.DateTimeField()


class ApiKeyCreatedSerializer(ApiKeySerializer):
    key = serializers.CharField(help_text="shown here and never again")


class ApiKeyListSerializer(serializers.Serializer):
    apikeys = ApiKeySerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class UserChangeSerializer(StrictSerializer):
    role = serializers.ChoiceField(choices=Role.choices, required=False)
    email = serializers.EmailField(required=False, allow_blank=True, max_length=254)
    active = serializers.BooleanField(required=False)
    password = StrictText(
        required=False, max_length=128, trim_whitespace=False, write_only=True, help_text="for the console and admin"
    )


class UserCreateSerializer(StrictSerializer):
    name = StrictText(max_length=150, validators=[UnicodeUsernameValidator()])
    role = serializers.ChoiceField(choices=Role.choices)
    email = serializers.EmailField(required=False, allow_blank=True, max_length=254)
    password = StrictText(
        required=False, max_length=128, trim_whitespace=False, write_only=True, help_text="for the console and admin"
    )


class UserSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    email = serializers.CharField(required=False)
    role = serializers.CharField(help_text="empty: may do nothing", allow_blank=True)
    active = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class UserListSerializer(serializers.Serializer):
    users = UserSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class MeSerializer(serializers.Serializer):
    """Who is asking."""

    user_id = serializers.IntegerField(allow_null=True, help_text="null: embedded mode without a key")
    name = serializers.CharField(allow_blank=True)
    role = serializers.ChoiceField(choices=Role.choices)
    key_prefix = serializers.CharField(required=False)
    address = serializers.CharField(allow_blank=True)
    keys_required = serializers.BooleanField()


class AuditEntrySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    actor = serializers.CharField(allow_blank=True, help_text="empty: embedded mode, or the platform itself")
    key_prefix = serializers.CharField(required=False)
    address = serializers.CharField(required=False)
    request_id = serializers.CharField(required=False)
    action = serializers.CharField(help_text="such as function.update")
    object_type = serializers.CharField()
    object_id = serializers.CharField()
    object_name = serializers.CharField(required=False)
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)


class AuditListSerializer(serializers.Serializer):
    audit = AuditEntrySerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    next_cursor = serializers.CharField(required=False)


def api_key_shape(row: ApiKey) -> dict[str, Any]:
    now = timezone.now()
    shape = {
        "id": str(row.pk),
        "name": row.name,
        "prefix": row.prefix,
        "user_id": row.owner_id,
        "user": row.owner.get_username(),
        "role": row.role,
        "active": row.revoked_at is None and (row.expires_at is None or row.expires_at > now),
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
        "created_at": row.created_at,
    }
    return {key: value for key, value in shape.items() if value is not None}


def user_shape(user: User) -> dict[str, Any]:
    member = getattr(user, "member", None)
    shape = {
        "id": user.pk,
        "name": user.get_username(),
        "email": user.email,
        "role": role_of(user) or (member.role if member is not None else ""),
        "active": user.is_active,
        "created_at": user.date_joined,
    }
    return {key: value for key, value in shape.items() if key != "email" or value}


def me_shape(principal: Principal, *, keys_required: bool) -> dict[str, Any]:
    shape = {
        "user_id": principal.user_id,
        "name": principal.name,
        "role": principal.role,
        "address": principal.address,
        "keys_required": keys_required,
    }
    return shape | ({"key_prefix": principal.key_prefix} if principal.key_prefix else {})


_LEFT_OUT_WHEN_EMPTY = ("key_prefix", "address", "request_id", "object_name")


def audit_shape(entry: AuditEntry) -> dict[str, Any]:
    shape = {
        "id": str(entry.pk),
        "at": entry.at,
        "actor": entry.actor,
        "key_prefix": entry.key_prefix,
        "address": entry.address,
        "request_id": entry.request_id,
        "action": entry.action,
        "object_type": entry.object_type,
        "object_id": entry.object_id,
        "object_name": entry.object_name,
        "before": entry.before,
        "after": entry.after,
    }
    return {key: value for key, value in shape.items() if key not in _LEFT_OUT_WHEN_EMPTY or value}
