"""A serializer that takes no field it does not know: a misspelt one must not be passed over in silence; and fields
that take no value of another type."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.validators import RegexValidator
from rest_framework import serializers

from functions.selectors import NAME_PATTERN


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


class NameField(TextField):
    """A name as functions have them."""

    def __init__(self, **more: Any) -> None:
        message = "Must start with a letter and have letters, digits, _ and - only, at most 64."
        checked = [RegexValidator(NAME_PATTERN[:-1] + r"\Z", message)]
        super().__init__(max_length=64, trim_whitespace=False, validators=checked, **more)


class AnyJsonField(serializers.JSONField):
    """What the parser has read, as it is. DRF's own writes it once more to see whether it can, with Python's stack,
    which ends before JSON's depth does."""

    def to_internal_value(self, data: Any) -> Any:
        return data
