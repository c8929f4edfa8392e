"""Routes of secrets: names and times can be read, values only written."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import secrets
from functions.selectors import function_get
from functions.serializers.secrets import (
    SecretListSerializer,
    SecretSerializer,
    SecretValueSerializer,
    secret_shape,
)
from nimbus_project.core.pagination import page_from

_PAGE = [
    OpenApiParameter("offset", OpenApiTypes.INT, description="rows to pass over"),
    OpenApiParameter("limit", OpenApiTypes.INT, description="rows to answer with, at most 100"),
]


class SecretsApi(APIView):
    """The names of a function's secrets."""

    @extend_schema(operation_id="secret_list", parameters=_PAGE, responses=SecretListSerializer)
    def get(self, request: Request, reference: str) -> Response:
        page = page_from(request.query_params)
        rows = secrets.secrets_of(function_get(reference))
        shown = [secret_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("secrets", shown, rows.count()))


class SecretApi(APIView):
    """One secret: an environment variable of the code that nobody can read back."""

    serializer_class = SecretValueSerializer

    @extend_schema(
        operation_id="secret_set",
        request=SecretValueSerializer,
        responses={200: SecretSerializer, 201: SecretSerializer},
        examples=[OpenApiExample("a password", value={"value": "correct horse battery staple"}, request_only=True)],
    )
    def put(self, request: Request, reference: str, name: str) -> Response:
        given = SecretValueSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        secret, is_new = secrets.secret_set(reference, name, given.validated_data["value"])
        return Response(secret_shape(secret), status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)

    @extend_schema(operation_id="secret_delete", responses={204: None})
    def delete(self, request: Request, reference: str, name: str) -> Response:
        secrets.secret_delete(reference, name)
        return Response(status=status.HTTP_204_NO_CONTENT)
