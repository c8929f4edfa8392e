"""Routes of reports: what became of telling a run's end to its function's destination."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from invocations.reports import reading
from invocations.serializers.reports import ReportSerializer, report_shape


class ReportApi(APIView):
    """The report of an invocation to a destination: `on_success` or `on_failure` of its function."""

    @extend_schema(operation_id="invocation_report", responses=ReportSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(report_shape(reading.report_of(reference)))


class ReportRetryApi(APIView):
    """Send a report once more that was given up, with a new set of tries."""

    @extend_schema(operation_id="invocation_report_retry", request=None, responses=ReportSerializer)
    def post(self, request: Request, reference: str) -> Response:
        return Response(report_shape(reading.send_again(reference)))
