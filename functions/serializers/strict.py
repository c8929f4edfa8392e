"""A serializer that takes no field it does not know: a misspelt one must not be passed over in silence; and a field
that takes no value of another type."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers


class StrictSerializer(serializers.Serializer):
    passed_over: ClassVar[frozenset[str]] = frozenset()
    """Fields of the answer that a client may send back."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields) - self.passed_over)
            if unknown:
                raise serializers.ValidationError({str(name)[:64]: ["There is no such field."] for name in unknown})
        return super().to_internal_value(data)


class TextField(serializers.CharField):
    """A string and nothing else: DRF's own would also take 12 and make "12" of it."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Must be a string.")
        value: str = super().to_internal_value(data)
        return value
