"""Routes of retention, for administrators."""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from nimbus_project.config import config
from triggers import retention
from triggers.serializers.retention import (
    CleanedSerializer,
    CleanupSerializer,
    RetentionStatsSerializer,
    cleaned_shape,
    dry_run_shape,
)


class RetentionStatsApi(APIView):
    """How much of everything is kept, since when, and how much the next night would delete."""

    @extend_schema(operation_id="retention_stats", responses=RetentionStatsSerializer)
    def get(self, request: Request) -> Response:
        tables = retention.statistics(timezone.now())
        total = {key: sum(table[key] for table in tables) for key in ("rows", "expired")}
        return Response({"tables": tables, **total, "hour_utc": config().retention_hour})


class RetentionCleanupApi(APIView):
    """Delete old rows now: 200 when all are gone, 202 when workers go on with the rest."""

    serializer_class = CleanupSerializer

    @extend_schema(
        operation_id="retention_cleanup",
        request=CleanupSerializer,
        responses={200: CleanedSerializer, 202: CleanedSerializer},
        examples=[
            OpenApiExample("what would go", value={"older_than_days": 7, "dry_run": True}, request_only=True),
            OpenApiExample("logs only", value={"older_than_days": 7, "tables": ["logs"]}, request_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        given = CleanupSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = given.wanted()
        if given.validated_data["dry_run"]:
            return Response(dry_run_shape(retention.would_go(wanted, timezone.now())))
        result = retention.clean_up(wanted)
        code = status.HTTP_200_OK if result.is_complete else status.HTTP_202_ACCEPTED
        return Response(cleaned_shape(result), status=code)
