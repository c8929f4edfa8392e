"""Routes of templates."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import templates
from functions.api.functions import created, query_parameter
from functions.serializers.functions import FunctionCreatedSerializer
from functions.serializers.templates import FromTemplateSerializer, TemplateListSerializer, template_shape
from nimbus_project.core.pagination import page_from


class TemplatesApi(APIView):
    """Functions to start from."""

    @extend_schema(
        operation_id="template_list",
        parameters=[
            query_parameter("offset", "rows to pass over", OpenApiTypes.INT),
            query_parameter("limit", "rows to answer with, at most 100", OpenApiTypes.INT),
        ],
        responses=TemplateListSerializer,
    )
    def get(self, request: Request) -> Response:
        page = page_from(request.query_params)
        every = [template_shape(example) for example in templates.templates()]
        return Response(page.answer("templates", every[page.offset : page.offset + page.limit], len(every)))


class FromTemplateApi(APIView):
    """Make a function from a template."""

    serializer_class = FromTemplateSerializer

    @extend_schema(
        operation_id="function_from_template",
        request=FromTemplateSerializer,
        responses={201: FunctionCreatedSerializer},
        examples=[OpenApiExample("a sieve", value={"template": "prime-sieve", "name": "primes"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        given = FromTemplateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        function = templates.function_from_template(**given.validated_data)
        return Response(created(function), status=status.HTTP_201_CREATED)
