"""What each route asks for: the one table, and the check that the entrance and DRF both make on it.

A route that is not in the table is for admins only, and a test fails. HEAD counts as GET; OPTIONS, and a method that a
route does not have (answered with 405), ask for any role. Whose functions somebody sees is not decided here but by the
selectors of functions and invocations.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.urls import Resolver404, ResolverMatch, resolve
from rest_framework.permissions import BasePermission

from accounts.principal import EMBEDDED, Principal, principal_var
from accounts.rights import ROLES_WITH, Right
from nimbus_project.config import config
from nimbus_project.core.errors import Forbidden, Unauthorized

if TYPE_CHECKING:
    # At run time rest_framework.views imports this module, as its default permission.
    from rest_framework.request import Request
    from rest_framework.views import APIView

Methods = Mapping[str, Right]

_READ: Methods = {"GET": Right.READ}
_ACT: Methods = {"POST": Right.WRITE}
_COLLECTION: Methods = {"GET": Right.READ, "POST": Right.WRITE}
_OBJECT: Methods = {"GET": Right.READ, "PUT": Right.WRITE, "PATCH": Right.WRITE, "DELETE": Right.WRITE}
_REPLACEABLE: Methods = {"GET": Right.READ, "PUT": Right.WRITE, "DELETE": Right.WRITE}
_PUBLIC: Methods = {"GET": Right.PUBLIC}

TABLE: dict[str, Methods] = {
    # -- the frame
    "health": _PUBLIC,
    "health-live": _PUBLIC,
    "health-ready": _PUBLIC,
    "not-found": dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"), Right.PUBLIC),
    "metrics": _READ,
    "login": {"GET": Right.PUBLIC, "POST": Right.PUBLIC, "PUT": Right.PUBLIC},
    "logout": {"POST": Right.PUBLIC},
    "schema": _READ,
    "docs": _READ,
    # -- accounts
    "me": {"GET": Right.KNOWN},
    "apikeys": _COLLECTION,
    "apikey": {"GET": Right.READ, "DELETE": Right.WRITE},
    "users": {"GET": Right.MANAGE, "POST": Right.MANAGE},
    "user": {"GET": Right.MANAGE, "PATCH": Right.MANAGE, "DELETE": Right.MANAGE},
    "audit": {"GET": Right.MANAGE},
    # -- functions
    "functions": _COLLECTION,
    "function": _OBJECT,
    "functions-bulk-delete": _ACT,
    "functions-bulk-update": _ACT,
    "functions-export": _ACT,
    "functions-import": _ACT,
    "functions-from-template": _ACT,
    "templates": _READ,
    "function-clone": _ACT,
    "function-export": _READ,
    "function-offline": _ACT,
    "function-online": _ACT,
    "function-pin": _ACT,
    "function-recompile": _ACT,
    "task": _READ,
    "compile": _ACT,
    "versions": _COLLECTION,
    "version": {"GET": Right.READ, "DELETE": Right.WRITE},
    "version-diff": _READ,
    "version-rollback": _ACT,
    "aliases": _COLLECTION,
    "alias": _REPLACEABLE,
    "rollout": _COLLECTION,
    "rollout-pause": _ACT,
    "rollout-resume": _ACT,
    "rollout-abort": _ACT,
    "rollouts": _READ,
    "layers": _COLLECTION,
    "layer": {"GET": Right.READ, "DELETE": Right.WRITE},
    "layer-versions": _COLLECTION,
    "function-layers": {"GET": Right.READ, "PUT": Right.WRITE},
    "environments": _COLLECTION,
    # Deleting one changes everybody's functions, also those that the caller may not see.
    "environment": {"GET": Right.READ, "PUT": Right.WRITE, "DELETE": Right.MANAGE},
    "function-environment": _REPLACEABLE,
    "function-secrets": _READ,
    "function-secret": {"PUT": Right.WRITE, "DELETE": Right.WRITE},
    "quota": _READ,
    "stats": _READ,
    # -- invocations
    "function-invoke": {"POST": Right.INVOKE},
    "function-async": {"POST": Right.INVOKE},
    "function-invocations": _READ,
    "function-logs-stream": _READ,
    "invocations": _READ,
    # An invoker reads the answers of its own calls; the selector sees to that.
    "invocation": {"GET": Right.KNOWN},
    "invocation-logs": _READ,
    "invocation-stream": _READ,
    "invocation-replay": _ACT,
    "invocation-cancel": _ACT,
    "invocation-report": _READ,
    "invocation-report-retry": _ACT,
    "dlq": {"GET": Right.READ, "DELETE": Right.WRITE},
    "dlq-stats": _READ,
    "dlq-retry": _ACT,
    "dead-letter": {"GET": Right.READ, "DELETE": Right.WRITE},
    "dead-letter-retry": _ACT,
    "dead-letter-discard": _ACT,
    # -- workflows
    "workflows": _COLLECTION,
    "workflow": _OBJECT,
    # Nothing is stored and nobody called.
    "workflow-validate": {"POST": Right.READ},
    "workflow-versions": _READ,
    "workflow-version": _READ,
    "workflow-executions": {"GET": Right.READ, "POST": Right.INVOKE},
    "executions": _READ,
    "execution": _READ,
    "execution-history": _READ,
    "execution-step": _READ,
    "execution-stop": {"POST": Right.INVOKE},
    # -- triggers
    # Its key is the right to call it.
    "webhook": {"POST": Right.PUBLIC},
    "function-webhook": {"GET": Right.READ, "PUT": Right.WRITE},
    "webhook-enable": _ACT,
    "webhook-disable": _ACT,
    "webhook-regenerate": _ACT,
    "webhook-deliveries": _READ,
    "webhook-redeliver": _ACT,
    # -- triggers: schedules
    "schedules": _COLLECTION,
    "schedule": _OBJECT,
    "schedule-pause": _ACT,
    "schedule-resume": _ACT,
    "schedule-run": _ACT,
    "schedule-next": _READ,
    "schedule-history": _READ,
    # -- triggers: retention
    "retention-stats": {"GET": Right.MANAGE},
    "retention-cleanup": {"POST": Right.MANAGE},
    # -- triggers: events
    "events": {"GET": Right.READ, "POST": Right.INVOKE},
    "event": _READ,
    "event-replays": _COLLECTION,
    "event-replay": _READ,
    "event-rules": _COLLECTION,
    "event-rule": _OBJECT,
    # Nothing is stored and nobody called.
    "event-rule-test": {"POST": Right.READ},
    # -- triggers: alerts
    "alerts": _COLLECTION,
    "alert": _OBJECT,
    "alert-silence": _ACT,
    "alert-unsilence": _ACT,
    "alert-test": _ACT,
    "alert-history": _READ,
    "alert-notifications": _READ,
}

# Pages with a login of their own (Django's admin), and what those pages are made of.
_PUBLIC_NAMESPACES = frozenset({"admin"})
_PUBLIC_VIEWS = frozenset({"django.contrib.staticfiles.views.serve"})


def right_for(route: str, method: str) -> Right:
    """What the table says; MANAGE for what it does not know."""
    methods = TABLE.get(route)
    if methods is None:
        return Right.MANAGE
    return methods.get("GET" if method == "HEAD" else method, Right.KNOWN if method == "OPTIONS" else Right.MANAGE)


def check(principal: Principal, right: Right) -> None:
    """Raises Unauthorized for nobody, Forbidden for a role without the right."""
    if principal.role in ROLES_WITH[right]:
        # Django without the entrance before it knows no principal: nothing may be open by that.
        if principal is EMBEDDED and right is not Right.PUBLIC and config().keys_required:
            raise _unauthorized()
        return
    if not principal.role:
        raise _unauthorized()
    raise Forbidden(f"The role {principal.role} may not do this: it needs the right to {right}.")


def check_path(principal: Principal, path: str, method: str) -> None:
    """The check for whatever Django route has this path (without a trailing slash). Raises as `check`."""
    try:
        match = resolve(path)
    except Resolver404:
        return
    check(principal, _right_of(match, method))


def _right_of(match: ResolverMatch, method: str) -> Right:
    if _PUBLIC_NAMESPACES.intersection(match.namespaces) or match.view_name in _PUBLIC_VIEWS:
        return Right.PUBLIC
    if not _has_method(match.func, method):
        return Right.KNOWN
    return right_for(match.view_name or "", method)


@lru_cache(maxsize=1024)
def _has_method(view: Any, method: str) -> bool:
    """Whether a view would do anything but answer 405. A plain function may do anything."""
    view_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
    name = "get" if method == "HEAD" else method.lower()
    return view_class is None or (name in view_class.http_method_names and hasattr(view_class, name))


class TablePermission(BasePermission):
    """The same check inside DRF, should Django ever run without the entrance before it."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        match = request.resolver_match
        if match is not None:
            check(principal_var.get(), _right_of(match, request.method or ""))
        return match is not None


def _unauthorized() -> Unauthorized:
    return Unauthorized("An API key is needed: send it as Authorization: Bearer nmb_… or as X-API-Key.")
