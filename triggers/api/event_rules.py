"""Routes of event rules: parse, call a service or selector, shape the answer."""

from __future__ import annotations

import orjson
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from nimbus_project.config import config
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.pagination import page_from
from triggers import event_rules
from triggers.input_template import TooLarge
from triggers.patterns import TooCostly
from triggers.serializers.event_rules import (
    EventRuleCreateSerializer,
    EventRuleListSerializer,
    EventRuleSerializer,
    EventRuleUpdateSerializer,
    PatternTestedSerializer,
    PatternTestSerializer,
    rule_shape,
    tested_shape,
)

_PAGE = [
    OpenApiParameter("offset", OpenApiTypes.INT, description="rows to pass over"),
    OpenApiParameter("limit", OpenApiTypes.INT, description="rows to answer with, at most 100"),
]
_PATTERN = {"type": ["order.paid"], "data": {"amount": [{"numeric": [">", 100]}]}}
_TEMPLATE = {"order": "<$.data.order>", "text": "Paid: <$.data.amount> by <$.source>"}
_STARTS = {"name": "on-paid", "pattern": {"type": ["order.paid"]}, "targets": [{"workflow": "fulfil-order"}]}
_ON_PAID = {"name": "on-paid", "pattern": _PATTERN, "targets": [{"function": "hello", "input_template": _TEMPLATE}]}


class EventRulesApi(APIView):
    """Make event rules and list them."""

    serializer_class = EventRuleCreateSerializer

    @extend_schema(operation_id="event_rule_list", parameters=_PAGE, responses=EventRuleListSerializer)
    def get(self, request: Request) -> Response:
        page = page_from(request.query_params)
        rows = event_rules.rules()
        shown = [rule_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("event_rules", shown, rows.count()))

    @extend_schema(
        operation_id="event_rule_create",
        request=EventRuleCreateSerializer,
        responses={201: EventRuleSerializer},
        examples=[
            OpenApiExample("large orders", value=_ON_PAID, request_only=True),
            OpenApiExample("a workflow for each order", value=_STARTS, request_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        given = EventRuleCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        rule = event_rules.rule_create(**given.validated_data)
        return Response(rule_shape(rule), status=status.HTTP_201_CREATED)


class EventRuleApi(APIView):
    """One event rule, by id or name."""

    serializer_class = EventRuleUpdateSerializer

    @extend_schema(operation_id="event_rule_get", responses=EventRuleSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(rule_shape(event_rules.rule_get(reference)))

    @extend_schema(
        operation_id="event_rule_replace",
        request=EventRuleUpdateSerializer,
        responses=EventRuleSerializer,
        examples=[OpenApiExample("off", value={"enabled": False}, request_only=True)],
    )
    def put(self, request: Request, reference: str) -> Response:
        return self._update(request, reference)

    @extend_schema(operation_id="event_rule_update", request=EventRuleUpdateSerializer, responses=EventRuleSerializer)
    def patch(self, request: Request, reference: str) -> Response:
        return self._update(request, reference)

    def _update(self, request: Request, reference: str) -> Response:
        given = EventRuleUpdateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(rule_shape(event_rules.rule_update(reference, **given.validated_data)))

    @extend_schema(operation_id="event_rule_delete", responses={204: None})
    def delete(self, request: Request, reference: str) -> Response:
        event_rules.rule_delete(reference)
        return Response(status=status.HTTP_204_NO_CONTENT)


class PatternTestApi(APIView):
    """Hold a pattern against an event: does it fit, and why not. Nothing is stored and nobody called."""

    serializer_class = PatternTestSerializer

    @extend_schema(
        operation_id="event_rule_test",
        request=PatternTestSerializer,
        responses=PatternTestedSerializer,
        examples=[
            OpenApiExample(
                "too little",
                value={"pattern": _PATTERN, "event": {"type": "order.paid", "data": {"amount": 99}}},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        given = PatternTestSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        pattern = event_rules.checked_pattern(asked["pattern"])
        try:
            answer = tested_shape(pattern.explain(asked["event"]))
        except TooCostly as error:
            message = "Has too many values to be held against this pattern."
            raise InvalidRequest(f"event: {message}", details={"event": [message]}) from error
        if asked.get("input_template") is not None:
            answer["input"] = _made(asked["input_template"], asked["event"])
        return Response(answer)


def _made(template: object, event: dict[str, object]) -> orjson.Fragment:
    checked = event_rules.checked_template(template)
    try:
        return orjson.Fragment(checked.render(event, config().max_event_bytes))
    except TooLarge as error:
        message = "Makes more of this event than an event may be."
        raise InvalidRequest(f"input_template: {message}", details={"input_template": [message]}) from error
