"""Shapes of requests and answers about workflows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import orjson
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from functions.serializers.strict import AnyJsonField, NameField, StrictSerializer, TextField
from workflows.callees import Callee
from workflows.definition import Problem
from workflows.models import StoredDefinition, Workflow, WorkflowVersion

SAMPLE: dict[str, Any] = {
    "Comment": "Charges a card, and says thank you.",
    "StartAt": "Charge",
    "States": {
        "Charge": {
            "Type": "Task",
            "Resource": "charge:prod",
            "Retry": [{"ErrorEquals": ["States.TaskFailed"], "IntervalSeconds": 2, "MaxAttempts": 3}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Refused"}],
            "ResultPath": "$.charge",
            "Next": "Thank",
        },
        "Thank": {"Type": "Task", "Resource": "thank", "End": True},
        "Refused": {"Type": "Fail", "Error": "CardRefused", "CausePath": "$.error.Cause"},
    },
}
_OBJECT = {"type": "object", "additionalProperties": True, "example": SAMPLE}


@extend_schema_field(_OBJECT)
class DefinitionField(AnyJsonField):
    """Amazon States Language; whether it is, `workflows.definition` says."""

    def __init__(self, **more: Any) -> None:
        super().__init__(help_text="Amazon States Language, or the same in snake_case", **more)


class WorkflowUpdateSerializer(StrictSerializer):
    """Absent: as it is."""

    passed_over: ClassVar[frozenset[str]] = frozenset({"id", "version", "created_at", "updated_at"})

    name = NameField(required=False)
    description = TextField(required=False, allow_blank=True, max_length=4096)
    definition = DefinitionField(required=False)


class WorkflowCreateSerializer(WorkflowUpdateSerializer):
    name = NameField()
    definition = DefinitionField()


class WorkflowValidateSerializer(StrictSerializer):
    definition = DefinitionField()


class ListedWorkflowSerializer(serializers.Serializer):
    """A workflow in a list."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(required=False)
    version = serializers.IntegerField(help_text="of the definition: counts up with each other one")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class WorkflowSerializer(ListedWorkflowSerializer):
    """A workflow in an answer."""

    definition = DefinitionField()


class WorkflowListSerializer(serializers.Serializer):
    workflows = ListedWorkflowSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class ListedWorkflowVersionSerializer(serializers.Serializer):
    version = serializers.IntegerField()
    definition_sha256 = serializers.CharField(help_text="the same for the same definition")
    created_at = serializers.DateTimeField()


class WorkflowVersionSerializer(ListedWorkflowVersionSerializer):
    """A definition that a workflow has or had."""

    definition = DefinitionField()


class WorkflowVersionListSerializer(serializers.Serializer):
    versions = ListedWorkflowVersionSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class ProblemSerializer(serializers.Serializer):
    path = serializers.CharField(allow_blank=True, help_text="such as States.Pay.Retry[0]; empty: the whole of it")
    message = serializers.CharField()


class CalleeSerializer(serializers.Serializer):
    function = serializers.CharField()
    qualifier = serializers.CharField(required=False, help_text="the alias or version that is asked for")
    states = serializers.ListField(child=serializers.CharField(), help_text="that call it, at most 20")
    found = serializers.BooleanField(help_text="whether you could call it now; a workflow may be there first")


class WorkflowValidatedSerializer(serializers.Serializer):
    valid = serializers.BooleanField()
    problems = ProblemSerializer(many=True, help_text="at most 50")
    functions = CalleeSerializer(many=True, help_text="what its Tasks call, as far as their Resource says")


def workflow_row_shape(row: Workflow) -> dict[str, Any]:
    """One of a list. Empty optional fields left out."""
    shape: dict[str, Any] = {
        "id": str(row.pk),
        "name": row.name,
        "description": row.description,
        "version": row.version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
    return {key: value for key, value in shape.items() if value or key != "description"}


def workflow_shape(row: Workflow) -> dict[str, Any]:
    return workflow_row_shape(row) | {"definition": _document(row.definition)}


def version_row_shape(row: WorkflowVersion) -> dict[str, Any]:
    return {"version": row.version, "definition_sha256": row.definition_id, "created_at": row.created_at}


def version_shape(row: WorkflowVersion) -> dict[str, Any]:
    return version_row_shape(row) | {"definition": _document(row.definition)}


def validated_shape(problems: Iterable[Problem], called: Iterable[Callee]) -> dict[str, Any]:
    shown = [{"path": one.path, "message": one.message} for one in problems]
    return {"valid": not shown, "problems": shown, "functions": [_callee_shape(one) for one in called]}


def _callee_shape(one: Callee) -> dict[str, Any]:
    shape: dict[str, Any] = {"function": one.function, "qualifier": one.qualifier, "states": one.states}
    return {key: value for key, value in shape.items() if value} | {"found": one.found}


def _document(stored: StoredDefinition) -> orjson.Fragment:
    """As it is stored: the order of its states is kept."""
    return orjson.Fragment(stored.document)
