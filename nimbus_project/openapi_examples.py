"""Examples of answers, made from their schemas: each route has one, also a new one, and none can differ from what it
stands for. What a field of a well-known name looks like is in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

_TIME = "2026-01-31T12:00:00Z"
_ID = "0192f0c1-7c1e-7d5a-9f3b-0a1b2c3d4e5f"
_CODE = "def main(event):\n    return {'hello': event.get('name', 'world')}\n"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_MAX_DEPTH = 8

SAMPLES: Mapping[str, Any] = {
    "name": "hello", "function_name": "hello", "description": "Says hello.", "tags": ["demo"],
    "handler": "handler.main", "code": _CODE, "code_hash": _SHA256, "sha256": _SHA256,
    "code_size": 66, "code_size_limit": 524288,
    "memory_mb": 256, "timeout_sec": 30, "max_concurrency": 0, "max_retries": 2, "max_event_age_sec": 21600,
    "env_vars": {"GREETING": "Hello"}, "version": 3, "status": "active", "trigger_type": "http", "status_code": 200,
    "request_id": _ID, "invocation_id": _ID, "input": {"name": "Ada"}, "output": {"hello": "Ada"},
    "body": {"hello": "Ada"}, "event": {"name": "Ada"}, "duration_ms": 1.9, "queue_ms": 0.4, "billed_time_ms": 2,
    "memory_used_mb": 18.2, "attempt": 1, "retry_count": 0, "cold_start": False, "start_kind": "warm",
    "message": "Function hello is active.", "alias": "prod",
    "alias_used": "prod", "percent": 25, "weight": 100, "total": 1, "offset": 0,
    "limit": 20, "created_by": "ada", "user": "ada", "user_id": 7, "actor": "ada", "role": "developer",
    "email": "ada@example.org", "prefix": "4fT0aZ81Qx", "key_prefix": "4fT0aZ81Qx", "address": "203.0.113.7",
    "key": "nmb_4fT0aZ81Qx_…", "action": "function.update", "object_type": "function", "object_id": _ID,
    "object_name": "hello", "before": {"timeout_sec": 30}, "after": {"timeout_sec": 10}, "success_rate": 99.5,
    "avg_latency_ms": 12.5, "invocations": 200, "diff": "", "changed": ["timeout_sec"], "steps": [5, 25, 50, 100],
    "functions_by_status": {"active": 1}, "functions_by_runtime": {"python3.11": 1},
    "by_status": {"success": 199, "failed": 1}, "by_runtime": {"python3.11": 200},
    "environment": "staging", "reason": "", "stream": "stdout", "error": "",
}  # fmt: skip
"""By the name of the field; taken where it is of the field's type."""
_SHOWN_THOUGH_OPTIONAL = frozenset({"description", "code", "alias_used", "key", "output"})


def example_of(schema: Schema, components: Mapping[str, Schema], name: str = "", depth: int = 0) -> Any:
    """A value of this schema; `name` is the field's it is for."""
    schema = _resolved(schema, components)
    if "example" in schema:
        return schema["example"]
    kind = schema.get("type")
    if "enum" in schema:
        return SAMPLES[name] if SAMPLES.get(name) in schema["enum"] else schema["enum"][0]
    if kind == "object" or "properties" in schema:
        return _object(schema, components, name, depth)
    if kind == "array":
        sample = SAMPLES.get(name)
        if isinstance(sample, list):
            return sample
        return (
            [example_of(schema["items"], components, name.removesuffix("s"), depth + 1)] if depth < _MAX_DEPTH else []
        )
    return _scalar(schema, name)


def _resolved(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    while True:
        if "$ref" in schema:
            schema = components[schema["$ref"].rpartition("/")[2]]
        elif len(schema.get("allOf", ())) == 1 or schema.get("oneOf"):
            # A reference with more said about it; the first of several.
            schema = {**schema, **(schema.get("allOf") or schema["oneOf"])[0], "allOf": [], "oneOf": []}
        else:
            return schema


def _object(schema: Schema, components: Mapping[str, Schema], name: str, depth: int) -> Any:
    properties = schema.get("properties")
    if properties is None:
        sample = SAMPLES.get(name)
        return sample if isinstance(sample, dict) else {}
    wanted = {*schema.get("required", ()), *(_SHOWN_THOUGH_OPTIONAL & properties.keys())}
    return {key: example_of(sub, components, key, depth + 1) for key, sub in properties.items() if key in wanted}


def _scalar(schema: Schema, name: str) -> Any:
    kinds: dict[str, type | tuple[type, ...]] = {"integer": int, "number": (int, float), "boolean": bool, "string": str}
    kind, form, sample = schema.get("type", ""), schema.get("format"), SAMPLES.get(name)
    if form == "date-time":
        return _TIME
    if form == "uuid":
        return _ID
    if kind not in kinds:
        # Any JSON.
        return sample if sample is not None else {}
    if sample is not None and isinstance(sample, kinds[kind]) and isinstance(sample, bool) == (kind == "boolean"):
        return sample
    if schema.get("nullable"):
        return None
    return {"integer": schema.get("minimum", 1), "number": 1.5, "boolean": True, "string": name or "text"}[kind]
