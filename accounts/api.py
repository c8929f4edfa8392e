"""Routes of users, keys and the audit log: parse, call a service or selector, shape the answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import export, selectors, services
from accounts.principal import principal_var
from accounts.selectors import AuditFilter, role_of
from accounts.serializers import (
    ApiKeyCreatedSerializer,
    ApiKeyCreateSerializer,
    ApiKeyListSerializer,
    ApiKeySerializer,
    AuditListSerializer,
    MeSerializer,
    UserChangeSerializer,
    UserCreateSerializer,
    UserListSerializer,
    UserSerializer,
    api_key_shape,
    audit_shape,
    me_shape,
    user_shape,
)
from nimbus_project.config import config
from nimbus_project.core.errors import Forbidden, InvalidRequest
from nimbus_project.core.pagination import cursor_after, page_from


def _query(name: str, about: str, kind: OpenApiTypes = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=about, **more)


_PAGE = [
    _query("offset", "rows to pass over", OpenApiTypes.INT),
    _query("limit", "rows to answer with, at most 100", OpenApiTypes.INT),
]


def _checked(serializer: Any) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    given: dict[str, Any] = serializer.validated_data
    return given


class MeApi(APIView):
    """Who is asking, and with which role."""

    @extend_schema(operation_id="me", responses=MeSerializer)
    def get(self, request: Request) -> Response:
        return Response(me_shape(principal_var.get(), keys_required=config().keys_required))


class ApiKeysApi(APIView):
    """One's own API keys; an admin sees and makes everybody's."""

    serializer_class = ApiKeyCreateSerializer

    @extend_schema(
        operation_id="apikey_list",
        parameters=[_query("user", "keys of this user only: id or name (admins)"), *_PAGE],
        responses=ApiKeyListSerializer,
    )
    def get(self, request: Request) -> Response:
        page = page_from(request.query_params)
        rows = selectors.api_keys(principal_var.get())
        if wanted := request.query_params.get("user", ""):
            rows = rows.filter(owner=self._owner(wanted))
        shown = rows[page.offset : page.offset + page.limit]
        return Response(page.answer("apikeys", [api_key_shape(row) for row in shown], rows.count()))

    @extend_schema(
        operation_id="apikey_create", request=ApiKeyCreateSerializer, responses={201: ApiKeyCreatedSerializer}
    )
    def post(self, request: Request) -> Response:
        given = _checked(ApiKeyCreateSerializer(data=request.data))
        owner = self._owner(given.pop("user", ""))
        role = given.pop("role", "") or self._role(owner)
        row, text = services.api_key_create(owner, role=role, giver=principal_var.get().role, **given)
        return Response(api_key_shape(row) | {"key": text}, status=status.HTTP_201_CREATED)

    def _role(self, owner: Any) -> str:
        """The owner's own, but never more than the asking key's."""
        principal = principal_var.get()
        return role_of(owner) if principal.is_admin else principal.role

    def _owner(self, reference: str) -> Any:
        principal = principal_var.get()
        own = {"", principal.name, str(principal.user_id)}
        if reference in own and principal.user_id is not None:
            return selectors.user_get(str(principal.user_id))
        if not principal.is_admin:
            raise Forbidden("Only an admin may see and make keys of others.")
        if not reference:
            message = "Say whose key it is: embedded mode has no user of its own."
            raise InvalidRequest(f"user: {message}", details={"user": [message]})
        return selectors.user_get(reference)


class ApiKeyApi(APIView):
    """One API key, by id or prefix."""

    @extend_schema(operation_id="apikey_get", responses=ApiKeySerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(api_key_shape(selectors.api_key_get(principal_var.get(), reference)))

    @extend_schema(operation_id="apikey_revoke", responses={204: None})
    def delete(self, request: Request, reference: str) -> Response:
        """Revoke it: refused from now on, kept in the list."""
        services.api_key_revoke(principal_var.get(), reference)
        return Response(status=status.HTTP_204_NO_CONTENT)


class UsersApi(APIView):
    """The members of this installation."""

    serializer_class = UserCreateSerializer

    @extend_schema(operation_id="user_list", parameters=_PAGE, responses=UserListSerializer)
    def get(self, request: Request) -> Response:
        page = page_from(request.query_params)
        rows = selectors.users()
        shown = rows[page.offset : page.offset + page.limit]
        return Response(page.answer("users", [user_shape(user) for user in shown], rows.count()))

    @extend_schema(operation_id="user_create", request=UserCreateSerializer, responses={201: UserSerializer})
    def post(self, request: Request) -> Response:
        user = services.user_create(**_checked(UserCreateSerializer(data=request.data)))
        return Response(user_shape(user), status=status.HTTP_201_CREATED)


class UserApi(APIView):
    """One user, by id or name."""

    serializer_class = UserChangeSerializer

    @extend_schema(operation_id="user_get", responses=UserSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(user_shape(selectors.user_get(reference)))

    @extend_schema(operation_id="user_update", request=UserChangeSerializer, responses=UserSerializer)
    def patch(self, request: Request, reference: str) -> Response:
        given = _checked(UserChangeSerializer(data=request.data, partial=True))
        return Response(user_shape(services.user_update(reference, **given)))

    @extend_schema(operation_id="user_delete", responses={204: None})
    def delete(self, request: Request, reference: str) -> Response:
        services.user_delete(principal_var.get(), reference)
        return Response(status=status.HTTP_204_NO_CONTENT)


class _ByAccept(DefaultContentNegotiation):
    """Leaves ``?format=`` to the view: here it asks for a file."""

    settings = SimpleNamespace(URL_FORMAT_OVERRIDE=None)  # type: ignore[assignment]  # all it is asked for


class AuditApi(APIView):
    """Who changed what, newest first."""

    content_negotiation_class = _ByAccept

    @extend_schema(
        operation_id="audit_list",
        parameters=[
            _query("actor", "user name"),
            _query("action", "such as function.update; function. for all of that kind"),
            _query("object", "id or name of what was changed"),
            _query("object_type", "such as function"),
            _query("before", "made before (RFC 3339)"),
            _query("after", "made after (RFC 3339)"),
            _query("format", "`csv` or `json`: everything that matches, as a file", enum=["csv", "json"]),
            _query("cursor", "next_cursor of the answer before, instead of offset"),
            *_PAGE,
        ],
        responses={(200, "application/json"): AuditListSerializer, (200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        page = page_from(request.query_params)
        rows = selectors.audit_entries(AuditFilter.from_query(request.query_params))
        if wanted := request.query_params.get("format", ""):
            return _file(wanted, rows)
        shown = list(rows[page.offset : page.offset + page.limit + 1])
        last = shown[page.limit - 1] if 0 < page.limit < len(shown) else None
        more = {"next_cursor": cursor_after(last.at, last.pk)} if last else {}
        return Response(page.answer("audit", [audit_shape(e) for e in shown[: page.limit]], rows.count(), **more))


def _file(wanted: str, rows: Any) -> StreamingHttpResponse:
    if wanted not in ("csv", "json"):
        raise InvalidRequest("format: Must be csv or json.", details={"format": ["Must be csv or json."]})
    content = export.as_csv(rows) if wanted == "csv" else export.as_json(rows)
    return StreamingHttpResponse(
        content,
        content_type="text/csv; charset=utf-8" if wanted == "csv" else "application/json",
        headers={"Content-Disposition": f'attachment; filename="nimbus-audit.{wanted}"'},
    )
