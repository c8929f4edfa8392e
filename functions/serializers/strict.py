"""A serializer that takes no field it does not know: a misspelt one must not be passed over in silence."""

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
