"""What all operations of the OpenAPI schema have in common: how to authenticate, what refusals look like, examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nimbus_project.openapi_examples import example_of

Schema = dict[str, Any]

_ERROR: Schema = {
    "type": "object",
    "description": "The one shape of every refusal. Match on `code`: it is permanent, the text is not.",
    "required": ["error", "code", "request_id"],
    "properties": {
        "error": {"type": "string", "description": "what happened, and what to do"},
        "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
        "request_id": {"type": "string"},
        "details": {
            "type": "object",
            "description": "field: messages",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
    "example": {
        "error": "There is no function of this id or name.",
        "code": "function_not_found",
        "request_id": "0192f0c1-7c1e-7d5a-9f3b-0a1b2c3d4e5f",
    },
}
_SECURITY: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer nmb_…`"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, without Bearer"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "Django's session; methods that change things also need `X-CSRFToken`",
    },
}
_REFUSALS = {
    "400": "The request is not what it should be; `details` says which field.",
    "401": "No API key, or one that is wrong, expired or revoked.",
    "403": "The role may not do this, or a quota would be exceeded.",
    "404": "It does not exist, or belongs to somebody else.",
    "409": "It contradicts what is there.",
    "412": "`If-Match` names another version than there is.",
    "413": "The body is too large.",
    "415": "The body is of another media type.",
    "429": "Over a limit: `rate_limited`, `concurrency_limit` or `quota_exceeded`. `Retry-After` says when to return.",
    "503": "The database, Redis or the workers are away. `Retry-After` says when to come back.",
}
_EVERYWHERE = ("400", "401", "403", "429", "503")
_WITH_BODY = ("409", "412", "413", "415")
_CODE = "def main(event, context):\n    return {'hello': event.get('name', 'world')}\n"
_EXAMPLES: dict[str, Any] = {
    "function_create": {"name": "hello", "runtime": "python3.11", "handler": "handler.main", "code": _CODE},
    "function_update": {"timeout_sec": 10, "env_vars": {"GREETING": "Hello"}},
    "function_replace": {"code": _CODE, "description": "Says hello."},
    "function_invoke": {"name": "Ada"},
    "function_invoke_async": {"name": "Ada"},
    "function_pin": {"pinned": True},
    "version_publish": {"description": "Before the sale.", "publish_alias": "prod"},
    "rollout_start": {"version": 3, "steps": [5, 25, 50, 100], "interval_sec": 300, "max_error_rate": 0.02},
    "alias_update": {"routing_config": {"weights": [{"version": 2, "weight": 90}, {"version": 3, "weight": 10}]}},
    "layer_version_create": {"content": "UEsDBBQAAAAIAA=="},
    "environment_update": {"description": "What runs before production."},
    "alias_create": {"name": "prod", "routing_config": {"weights": [{"version": 1, "weight": 100}]}},
    "apikey_create": {"name": "deployment", "role": "developer", "expires_days": 90},
    "user_create": {"name": "ada", "role": "developer", "email": "ada@example.org"},
    "user_update": {"role": "viewer"},
    "event_rule_update": {"enabled": False},
    "alert_update": {"threshold": 0.1},
}


def complete(result: Schema, **_: Any) -> Schema:
    """drf-spectacular's postprocessing hook; what it is told besides the schema does not matter here."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = _ERROR
    components["securitySchemes"] = _SECURITY
    # The empty one: embedded mode lets loopback in without any.
    result["security"] = [*({name: []} for name in _SECURITY), {}]
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            if isinstance(operation, dict) and "responses" in operation:
                _add_refusals(path, method, operation)
                _add_example(operation)
                _add_answers(operation, components["schemas"])
    return result


def _add_refusals(path: str, method: str, operation: Schema) -> None:
    # What is said here holds for every operation: nothing of it overrides the schema's own.
    operation.pop("security", None)
    changes = method not in ("get", "head")
    codes = {*_EVERYWHERE, *(_WITH_BODY if changes else ())}
    if "{" in path or operation.get("parameters") or changes:
        codes.add("404")
    for code in sorted(codes):
        operation["responses"].setdefault(code, _refusal(code))
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _refusal(code: str) -> Schema:
    answer: Schema = {
        "description": _REFUSALS[code],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if code in ("429", "503"):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    if code == "401":
        answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "Bearer"}}
    return answer


def _add_answers(operation: Schema, components: Mapping[str, Schema]) -> None:
    """An example to each JSON answer that has none; refusals have that of their one shape."""
    for code, answer in operation["responses"].items():
        media = answer.get("content", {}).get("application/json")
        if code.startswith("2") and media is not None and not {"example", "examples"} & media.keys():
            media["example"] = example_of(media.get("schema", {}), components)


def _add_example(operation: Schema) -> None:
    example = _EXAMPLES.get(operation.get("operationId", ""))
    if example is not None:
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            if kind == "application/json":
                media.setdefault("example", example)
