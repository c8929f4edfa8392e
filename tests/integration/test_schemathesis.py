"""Every operation of the OpenAPI schema, asked what it allows and what it does not: no 5xx, no answer that breaks the
schema. A real web process answers, as an operator's; nothing in it is patched."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks

from tests.integration.accounts import make_key
from tests.integration.conftest import web_process
from tests.services import RedisServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

EXAMPLES = int(os.environ.get("NIMBUS_TEST_EXAMPLES", "12"))
"""Per operation and mode."""
CHECKS = [
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]
WAIT = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
SCHEDULE = "01900000-0000-7000-8000-0000000000cc"
# They go on for ever; their refusals are those of all other routes (test_permissions.py, test_owners.py).
ENDLESS = ("function_logs_stream", "invocation_stream")


@pytest.fixture
def served(transactional_db: None, redis_server: RedisServer, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a web process that requires keys, and the headers of an admin."""
    headers = {"X-API-Key": make_key("root", "admin")}
    with web_process(tmp_path, NIMBUS_REQUIRE_KEYS="true") as address:
        yield address, headers


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_keeps_to_its_schema(served: tuple[str, dict[str, str]], mode: GenerationMode) -> None:
    address, headers = served
    found: list[str] = []
    statuses: Counter[int] = Counter()
    tried = 0
    with httpx.Client(base_url=f"{address}/api/v1", headers=headers, timeout=30) as client:
        raw = client.get(f"{address}/api/schema?format=json").json()
        _point_to_what_there_is(raw, _made(client))
        for result in schemathesis.openapi.from_dict(raw).get_all_operations():
            operation = result.ok()
            if operation.definition.raw.get("operationId") in ENDLESS:
                continue
            tried += 1
            # What an operation before may have deleted or renamed is there again.
            _made(client)
            found += _problems(operation, mode, address, headers, statuses)
    assert not found, f"{len(found)}:\n" + "\n\n".join(found)
    assert tried > 50
    # Else it has fuzzed nothing but the door.
    well, badly = (sum(n for status, n in statuses.items() if status // 100 == kind) for kind in (2, 4))
    assert (well if mode is GenerationMode.POSITIVE else badly) > 100, statuses


def _made(client: httpx.Client) -> dict[str, list[str]]:
    """Something of each kind, and by the first word below /api/v1 what refers to it."""
    values = {"name": "fuzzed", "runtime": "python3.11", "handler": "handler.main", "code": "def main(e): return e"}
    client.post("/functions", json=values)
    weights = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    client.post("/functions/fuzzed/aliases", json={"name": "prod", **weights})
    client.post("/environments", json={"name": "staging"})
    client.post("/users", json={"name": "somebody", "role": "viewer"})
    client.post("/functions/fuzzed/online")
    webhook = client.post("/functions/fuzzed/webhook/enable").json()["webhook_key"]
    key = client.post("/apikeys", json={"name": "k", "user": "somebody"}).json()["id"]
    run = client.post("/functions/fuzzed/async", json={}).json().get("invocation_id", "nothing")
    _make_schedule()
    pattern = {"name": "fuzzed", "pattern": {"type": ["t"]}, "targets": [{"function": "fuzzed"}]}
    client.post("/event-rules", json=pattern)
    event = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
    client.post("/workflows", json={"name": "fuzzed", "definition": WAIT})
    execution = client.post("/workflows/fuzzed/executions").json()["id"]
    happened = client.post("/events", headers=event).json()["events"][0]["id"]
    return {
        "event-rules": ["fuzzed"],
        "events": [happened],
        "functions": ["fuzzed"],
        "workflows": ["fuzzed"],
        "executions": [execution],
        "environments": ["staging"],
        "users": ["somebody"],
        "apikeys": [key],
    } | {
        "invocations": [run],
        "alias": ["prod"],
        "environment": ["staging"],
        "name": ["PIN"],
        "key": [webhook],
        "schedules": [SCHEDULE],
    }


def _make_schedule() -> None:
    """The same again, by the id that it had."""
    from functions.models import Function
    from triggers.models import Schedule

    if not Schedule.objects.filter(pk=SCHEDULE).exists():
        function = Function.objects.get(name="fuzzed")
        Schedule.objects.create(pk=SCHEDULE, function=function, name="fuzzed", cron_expression="0 2 * * *")


def _point_to_what_there_is(raw: dict[str, Any], made: dict[str, list[str]]) -> None:
    """Random text hits nothing: let half of the references be real ones."""
    for path, operations in raw["paths"].items():
        kind = path.removeprefix("/api/v1/").partition("/")[0]
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] != "path":
                    continue
                real = made.get(kind if parameter["name"] == "reference" else parameter["name"])
                if real is not None:
                    parameter["schema"] = {"type": "string", "enum": [*real, "nothing"]}
                elif parameter["name"] == "number":
                    parameter["schema"] = {"type": "integer", "minimum": 1, "maximum": 3}


def _problems(
    operation: Any, mode: GenerationMode, address: str, headers: dict[str, str], statuses: Counter[int]
) -> list[str]:
    """What was wrong with the answers of one operation: at most one thing, the smallest that hypothesis finds."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        answer = case.call(base_url=address, headers=headers)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500 or _may_fail(operation, answer.status_code), answer.text
        case.validate_response(answer, checks=CHECKS)

    try:
        ask()
    except Unsatisfiable:
        # Any text will do for this address, and it takes nothing else: there is nothing to get wrong.
        return [] if mode is GenerationMode.NEGATIVE else [f"{operation.label}: nothing to ask"]
    except (Exception, BaseExceptionGroup) as error:
        told = getattr(error, "exceptions", None) or [error]
        return [f"{operation.label}: {type(one).__name__}: {str(one)[:900]}" for one in told]
    return []


def _may_fail(operation: Any, status: int) -> bool:
    """Only where a worker has to answer, of which there is none here."""
    return status == 503 and operation.definition.raw["operationId"] in ("function_invoke", "compile")
