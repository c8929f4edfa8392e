"""Routes that change many functions at once."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import bulk
from functions.serializers.bulk import BulkResultSerializer, BulkSerializer, BulkUpdateSerializer, bulk_shape


class BulkDeleteApi(APIView):
    """Delete functions, each on its own account: one that fails harms no other."""

    serializer_class = BulkSerializer

    @extend_schema(
        operation_id="function_bulk_delete",
        request=BulkSerializer,
        responses={200: BulkResultSerializer},
        examples=[OpenApiExample("two", value={"ids": ["hello", "resize"]}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        given = BulkSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(bulk_shape(bulk.bulk_delete(given.validated_data["ids"])))


class BulkUpdateApi(APIView):
    """Take functions offline or put them online, or set their tags, each on its own account."""

    serializer_class = BulkUpdateSerializer

    @extend_schema(
        operation_id="function_bulk_update",
        request=BulkUpdateSerializer,
        responses={200: BulkResultSerializer},
        examples=[OpenApiExample("offline", value={"ids": ["hello"], "status": "offline"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        given = BulkUpdateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        change = {key: value for key, value in given.validated_data.items() if key != "ids"}
        return Response(bulk_shape(bulk.bulk_update(given.validated_data["ids"], **change)))
