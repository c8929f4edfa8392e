"""`POST /compile`: a source compiled, and nothing created."""

from __future__ import annotations

import base64
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import compiles
from functions.runtimes import RUNTIMES
from functions.serializers.functions import CodeField, handler_name
from functions.serializers.strict import StrictSerializer

_EXAMPLE = 'package main\n\nfunc Handler(event map[string]int) (int, error) {\n\treturn event["n"] + 1, nil\n}\n'


class CompileSerializer(StrictSerializer):
    runtime = serializers.ChoiceField(choices=[(r.name, r.title) for r in RUNTIMES.values()])
    code = CodeField(help_text="one source file")
    handler = handler_name(required=False)
    language = serializers.ChoiceField(required=False, choices=["rust", "c", "go"], help_text="of a wasm source")


class CompiledSerializer(serializers.Serializer):
    success = serializers.BooleanField()
    binary = serializers.CharField(required=False, help_text="base64; what a function may be created from")
    output = serializers.CharField(required=False, help_text="the compiler's log")
    error = serializers.CharField(required=False)


class CompileApi(APIView):
    """Compile a source without creating a function."""

    serializer_class = CompileSerializer

    @extend_schema(
        operation_id="compile",
        request=CompileSerializer,
        responses=CompiledSerializer,
        examples=[OpenApiExample("Go", value={"runtime": "go1.24", "code": _EXAMPLE}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        given = CompileSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = {"handler": "handler.main", **given.validated_data}
        compiled = compiles.compile_source(**wanted)
        shape: dict[str, Any] = {
            "success": compiled.success,
            "binary": base64.b64encode(compiled.binary).decode(),
            "output": compiled.output,
            "error": compiled.error,
        }
        return Response({key: value for key, value in shape.items() if value != ""})
