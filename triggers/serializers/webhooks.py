"""Shapes of requests and answers about webhooks. No answer has a secret, and few have the key."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from functions import webhook_keys
from functions.serializers.strict import StrictSerializer, TextField
from nimbus_project.config import network_of
from triggers.models import Webhook, WebhookDelivery
from triggers.models.webhooks import WebhookMode
from triggers.signing import Scheme
from triggers.webhooks import OwnWebhook

MAX_NETWORKS = 200
_SCHEMES = [(scheme.value, scheme.value) for scheme in Scheme]


class SignatureSerializer(StrictSerializer):
    passed_over = frozenset({"has_secret", "has_previous_secret"})

    scheme = serializers.ChoiceField(choices=_SCHEMES)
    secret = TextField(
        required=False, max_length=1024, trim_whitespace=False, write_only=True, help_text="absent: as it was"
    )
    previous_secret = TextField(
        required=False,
        allow_blank=True,
        max_length=1024,
        trim_whitespace=False,
        write_only=True,
        help_text="accepted too, while a sender changes over; empty: no more",
    )
    header = serializers.RegexField(
        r"^[A-Za-z0-9-]*\Z",
        required=False,
        allow_blank=True,
        max_length=100,
        help_text="that carries the signature, where it is not the scheme's own",
    )
    tolerance_sec = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=86_400,
        help_text="how old a signature may be, and for how long the same one is not accepted again",
    )


class SignatureShownSerializer(serializers.Serializer):
    scheme = serializers.ChoiceField(choices=_SCHEMES)
    has_secret = serializers.BooleanField()
    has_previous_secret = serializers.BooleanField()
    header = serializers.CharField(required=False)
    tolerance_sec = serializers.IntegerField()


class WebhookConfigSerializer(StrictSerializer):
    """What can be changed; what is absent stays as it is."""

    passed_over = frozenset({"id", "webhook_enabled", "webhook_key", "webhook_url"})

    signature = SignatureSerializer(required=False)
    ip_allow = serializers.ListField(
        child=TextField(max_length=64),
        required=False,
        max_length=MAX_NETWORKS,
        help_text="addresses and networks (CIDR) that may call; empty: all",
    )
    rate_limit_per_min = serializers.IntegerField(
        required=False, min_value=0, max_value=10_000_000, help_text="0: none"
    )
    mode = serializers.ChoiceField(required=False, choices=WebhookMode.choices)

    def validate_ip_allow(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(_network(text) for text in value))


def _network(text: str) -> str:
    try:
        return str(network_of(text.strip()))
    except ValueError as error:
        raise serializers.ValidationError(
            f"{text!r} is neither an address nor a network such as 10.0.0.0/8."
        ) from error


class WebhookKeySerializer(serializers.Serializer):
    """The answer to enable, disable and regenerate."""

    id = serializers.UUIDField(help_text="of the function")
    webhook_enabled = serializers.BooleanField()
    webhook_key = serializers.CharField()
    webhook_url = serializers.CharField()


class WebhookSerializer(serializers.Serializer):
    id = serializers.UUIDField(help_text="of the function")
    webhook_enabled = serializers.BooleanField()
    webhook_url = serializers.CharField(required=False, help_text="for those only who may change the function")
    signature = SignatureShownSerializer()
    ip_allow = serializers.ListField(child=serializers.CharField())
    rate_limit_per_min = serializers.IntegerField()
    mode = serializers.ChoiceField(choices=WebhookMode.choices)


class WebhookDeliverySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    delivery_id = serializers.CharField(required=False, help_text="the sender's own")
    status = serializers.ChoiceField(choices=["answered", "accepted", "refused"])
    http_status = serializers.IntegerField()
    code = serializers.CharField(required=False, help_text="why it was refused or failed")
    invocation_id = serializers.UUIDField(required=False)
    redelivery_of = serializers.UUIDField(required=False)
    request_id = serializers.CharField()
    address = serializers.CharField(required=False)
    size_bytes = serializers.IntegerField()
    duration_ms = serializers.FloatField()
    received_at = serializers.DateTimeField()


class WebhookDeliveryListSerializer(serializers.Serializer):
    deliveries = WebhookDeliverySerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class RedeliveredSerializer(serializers.Serializer):
    request_id = serializers.CharField()
    invocation_id = serializers.UUIDField()
    delivery_id = serializers.UUIDField(help_text="of the new entry in the log")
    status = serializers.ChoiceField(choices=["accepted"])


class WebhookEventSerializer(serializers.Serializer):
    """Whatever the sender sends, JSON or not."""


def key_shape(own: OwnWebhook) -> dict[str, Any]:
    key = webhook_keys.key_of(own.function)
    return {
        "id": str(own.function.pk),
        "webhook_enabled": own.function.webhook_enabled,
        "webhook_key": key,
        "webhook_url": webhook_keys.address(key),
    }


def webhook_shape(own: OwnWebhook) -> dict[str, Any]:
    row = own.row or Webhook(function=own.function)
    shape: dict[str, Any] = {"id": str(own.function.pk), "webhook_enabled": own.function.webhook_enabled}
    if url := webhook_keys.url_of(own.function):
        shape["webhook_url"] = url
    signature: dict[str, Any] = {
        "scheme": row.scheme,
        "has_secret": own.secret_count > 0,
        "has_previous_secret": own.secret_count > 1,
        "tolerance_sec": row.tolerance_sec,
    }
    if row.header:
        signature["header"] = row.header
    return shape | {
        "signature": signature,
        "ip_allow": row.ip_allow,
        "rate_limit_per_min": row.rate_limit_per_min,
        "mode": row.mode,
    }


def delivery_shape(row: WebhookDelivery) -> dict[str, Any]:
    happened = "accepted" if row.http_status == 202 else "answered"
    shape: dict[str, Any] = {
        "id": str(row.pk),
        "delivery_id": row.delivery_id,
        "status": happened if row.invocation_id else "refused",
        "http_status": row.http_status,
        "code": row.code,
        "invocation_id": row.invocation_id and str(row.invocation_id),
        "redelivery_of": row.redelivery_of and str(row.redelivery_of),
        "request_id": row.request_id,
        "address": row.address,
        "size_bytes": row.size_bytes,
        "duration_ms": round(row.duration_ms, 3),
        "received_at": row.received_at,
    }
    return {key: value for key, value in shape.items() if value not in (None, "")}
