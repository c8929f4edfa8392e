"""The product contract, name by name: every field of every answer and every route, held against what is really there.
Written down here by hand, as clients have it."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import Resolver404, resolve

from tests.integration import executions
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, refusal, wait_until
from workflows.models import Execution

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


def fields(spelled: str) -> tuple[set[str], set[str]]:
    """Those always there, and those left out when empty (``*``)."""
    names = spelled.split()
    return {name for name in names if name[-1] != "*"}, {name[:-1] for name in names if name[-1] == "*"}


FUNCTION = """id name description* tags pinned runtime handler code* code_hash code_size code_size_limit memory_mb
    timeout_sec max_concurrency env_vars network status status_message* task_id* version cron_expression* http_path*
    http_methods* language* max_retries max_event_age_sec on_success* on_failure* input_schema* webhook_enabled
    webhook_url* last_deployed_at* created_at updated_at"""
VERSION = """id function_id version handler code* code_hash memory_mb timeout_sec env_vars description* created_at
    created_by"""
ALIAS = "name description* routing_config created_at updated_at"
INVOCATION = """id function_id function_name version alias_used* trigger_type status input output* error* error_type*
    cold_start attempt retry_count started_at* completed_at* duration_ms queue_ms billed_time_ms memory_used_mb
    session_key* request_id created_at"""
INVOKE = """request_id status_code body error* error_type* stack_trace* duration_ms cold_start billed_time_ms version
    alias_used* logs*"""
QUOTA = """function_count total_memory_mb today_invocations total_code_size_kb max_functions max_memory_mb
    max_invocations_per_day max_code_size_kb function_usage_percent memory_usage_percent invocation_usage_percent
    code_usage_percent"""
WORKFLOW = "id name description* version definition created_at updated_at"
EXECUTION = """id workflow_id workflow_name workflow_version name status input output* error* error_code*
    current_state* trigger_type created_at started_at* completed_at* duration_ms*"""
STEP = """number state_name state_type status input output* error* error_code* retry_count invocation_id* started_at
    completed_at*"""
TASK = "id type status output* error*"

# What answers have besides: more than was promised, and no more than is written down here.
MORE = {
    FUNCTION: {"shared", "http_auth", "cors", "cron_timezone"},
    VERSION: {"language", "code_size", "layers", "network", "input_schema", "ready"},
    ALIAS: set(),
    INVOCATION: {
        "environment",
        "truncated",
        "omitted",
        "stack_trace",
        "start_kind",
        "attempts",
        "next_attempt_at",
        "dead_letter_id",
    },
    INVOKE: {"invocation_id", "start_kind"},
    QUOTA: set(),
    WORKFLOW: set(),
    EXECUTION: {"request_id", "truncated"},
    STEP: {"parent", "branch", "truncated"},
    TASK: {"version", "attempt", "created_at", "started_at", "completed_at"},
}


def keeps(shape: dict[str, Any], spelled: str, *also: str) -> None:
    """All that is promised, nothing empty that is to be left out, nothing that nobody has written down."""
    always, sometimes = fields(spelled)
    assert always <= set(shape), always - set(shape)
    unknown = set(shape) - always - sometimes - MORE[spelled] - set(also)
    assert not unknown, unknown
    assert [name for name in sometimes if name in shape and shape[name] in ("", None, [], {})] == []


RICH: dict[str, Any] = {
    "description": "d", "tags": ["a"], "pinned": True, "memory_mb": 512, "timeout_sec": 9, "max_concurrency": 3,
    "env_vars": {"A": "1"}, "max_retries": 1, "max_event_age_sec": 60, "on_success": {"url": "https://example.org/x"},
    "on_failure": {"event": {"type": "order.failed"}}, "input_schema": {"type": "object"},
    "http_path": "/rich/{id}", "http_methods": ["GET"], "cors": {"allow_origins": ["*"]},
    "cron_expression": "0 9 * * *", "cron_timezone": "Europe/Berlin",
}  # fmt: skip


def test_a_function_bare_and_with_everything(api: Api) -> None:
    for name, values in (("bare", {}), ("rich", RICH)):
        made = api.create(name, **values)
        keeps(made, FUNCTION, "function", "message")
        keeps(made["function"], FUNCTION)
        shown = api.get(f"/functions/{name}").json()
        keeps(shown, FUNCTION)
        assert {key: shown[key] for key in values} == values
        assert shown["code"] and shown["code_size_limit"] == 524288 and shown["webhook_enabled"] is False
        assert shown["id"] == api.get(f"/functions/{shown['id']}").json()["id"]
    row = api.get("/functions").json()["functions"][0]
    keeps(row, FUNCTION, "invocations", "success_rate", "avg_latency_ms")
    assert "code" not in row and "code" in api.get("/functions?include=code").json()["functions"][0]


def test_defaults(api: Api) -> None:
    made = api.create("bare")
    defaults = {"memory_mb": 256, "timeout_sec": 30, "network": "none", "status": "active", "version": 1}
    defaults |= {"max_retries": 2, "pinned": False, "tags": [], "env_vars": {}}
    assert {key: made[key] for key in defaults} == defaults


def test_a_build(api: Api) -> None:
    source = "package main\n\nfunc Handler(event any) (any, error) { return event, nil }\n"
    made = api.create("compiled", runtime="go1.24", code=source)
    assert made["status"] == "creating" and made["language"] == "go" and made["version"] == 0
    keeps(made, FUNCTION, "function", "message")
    task = api.get(f"/tasks/{made['task_id']}").json()
    assert set(task) == {"task", "function"}
    keeps(task["task"], TASK)
    keeps(task["function"], FUNCTION)


def test_versions_and_aliases(api: Api) -> None:
    api.create("hello", env_vars={"A": "1"})
    api.put("/functions/hello", {"code": "def main(event): return 2\n"})
    listed = api.get("/functions/hello/versions").json()
    assert listed["total"] == 2 and [row["version"] for row in listed["versions"]] == [2, 1]
    published = api.post("/functions/hello/versions", {"description": "d", "publish_alias": "prod"})
    assert published.status_code == 201
    for shape in (*listed["versions"], published.json(), api.get("/functions/hello/versions/1").json()):
        keeps(shape, VERSION)
    assert "code" in api.get("/functions/hello/versions/1").json()
    assert "---" in api.get("/functions/hello/versions/2/diff?against=1").json()["diff"]
    rolled = api.post("/functions/hello/versions/1/rollback")
    assert (rolled.status_code, rolled.json()["version"]) == (200, 4)
    refusal(api("DELETE", "/functions/hello/versions/4"), 409)
    assert api("DELETE", "/functions/hello/versions/2").status_code == 204
    alias = api.get("/functions/hello/aliases/prod").json()
    keeps(alias, ALIAS)
    assert alias["routing_config"] == {"weights": [{"version": 3, "weight": 100}]}
    keeps(api.get("/functions/hello/aliases").json()["aliases"][0], ALIAS)


def test_calls_and_invocations(api: Api, worker: None) -> None:
    api.create("hello", code="def main(event):\n    print('x')\n    return 1 / event['by']\n")
    api.post("/functions/hello/versions", {"publish_alias": "prod"})
    good = api.post("/functions/hello/invoke?alias=prod&logs=true", {"by": 2}, headers={"X-Nimbus-Session": "s"})
    bad = api.post("/functions/hello/invoke", {"by": 0})
    assert (good.status_code, bad.status_code) == (200, 500)
    for answer in (good, bad):
        keeps(answer.json(), INVOKE)
        assert answer.json()["status_code"] == answer.status_code
    assert {"logs", "alias_used"} <= set(good.json()) and good.json()["body"] == 0.5
    assert {"error", "error_type", "stack_trace"} <= set(bad.json())
    sent = api.post("/functions/hello/async?delay_sec=3600", {"by": 1})
    assert sent.status_code == 202 and sent.json()["status"] == "accepted" and sent.json()["request_id"]
    rows = wait_until(lambda: _all_three(api), "all three in the list")
    for row in [*rows, api.get(f"/invocations/{rows[0]['id']}").json()]:
        keeps(row, INVOCATION)
    logs = api.get(f"/invocations/{good.json()['invocation_id']}/logs").json()
    assert {"logs", "total", "offset", "limit"} <= set(logs) and logs["logs"][0]["message"] == "x"


def _all_three(api: Api) -> Any:
    rows = api.get("/functions/hello/invocations").json()["invocations"]
    return rows if len(rows) == 3 else None


def test_workflows_and_executions(api: Api) -> None:
    api.create("hello")
    task = {"Type": "Task", "Resource": "hello", "End": True}
    both = {"Type": "Parallel", "Branches": [{"StartAt": "Call", "States": {"Call": task}}], "End": True}
    made = api.post("/workflows", {"name": "w", "definition": {"StartAt": "Both", "States": {"Both": both}}})
    assert made.status_code == 201
    keeps(made.json(), WORKFLOW)
    keeps(api.get("/workflows").json()["workflows"][0] | {"definition": {}}, WORKFLOW)
    begun = api.post("/workflows/w/executions", {"input": {"a": 1}}).json()
    keeps(begun, EXECUTION)
    executions.run(Execution.objects.get(pk=begun["id"]))
    shown = api.get(f"/executions/{begun['id']}").json()
    for shape in (shown, api.get("/executions").json()["executions"][0]):
        keeps(shape, EXECUTION)
        assert shape["status"] == "succeeded" and {"output", "current_state", "duration_ms"} <= set(shape)
    history = api.get(f"/executions/{begun['id']}/history").json()["history"]
    assert [row["state_name"] for row in history] == ["Both", "Call"]
    for row in history:
        keeps(row, STEP)


def test_quota_and_stats(api: Api) -> None:
    api.create("hello")
    quota = api.get("/quota").json()
    keeps(quota, QUOTA)
    assert quota["function_count"] == 1 and quota["total_memory_mb"] == 256
    assert {"functions", "invocations", "by_status", "by_runtime", "by_hour"} <= set(api.get("/stats").json())


LISTS = {
    "/functions": "functions",
    "/functions/hello/versions": "versions",
    "/functions/hello/aliases": "aliases",
    "/functions/hello/invocations": "invocations",
    "/functions/hello/secrets": "secrets",
    "/functions/hello/rollouts": "rollouts",
    "/functions/hello/layers": "layers",
    "/invocations": "invocations",
    "/layers": "layers",
    "/environments": "environments",
    "/templates": "templates",
    "/apikeys": "apikeys",
    "/users": "users",
    "/audit": "audit",
    "/dlq": "dead_letters",
    "/workflows": "workflows",
    "/executions": "executions",
    "/functions/hello/webhook/deliveries": "deliveries",
}
# Bounded by themselves: whole, as the contract has them.
WHOLE = {"/functions/hello/layers"}


@pytest.mark.parametrize(("path", "plural"), LISTS.items())
def test_lists(api: Api, path: str, plural: str) -> None:
    if "hello" in path:
        api.create("hello")
    listed = api.get(path).json()
    assert isinstance(listed[plural], list) and isinstance(listed["total"], int)
    if path in WHOLE:
        return
    assert (listed["offset"], listed["limit"]) == (0, 20)
    assert api.get(f"{path}?limit=1000").json()["limit"] == 100
    assert api.get(f"{path}?limit=0&offset=3").json()[plural] == []
    for bad in ("limit=-1", "limit=x", "offset=1.5", "offset=", "limit=%00"):
        refusal(api.get(f"{path}?{bad}"), 400, "invalid_request")


ROUTES = """
GET POST /functions; GET PUT PATCH DELETE /functions/x; POST /functions/bulk-delete; POST /functions/bulk-update
POST /functions/x/clone; POST /functions/x/offline; POST /functions/x/online; POST /functions/x/pin
POST /functions/x/recompile; GET /functions/x/export; POST /functions/import; GET /tasks/x; POST /compile
PUT DELETE /functions/x/secrets/A; GET POST /functions/x/versions; GET DELETE /functions/x/versions/1
GET /functions/x/versions/1/diff; POST /functions/x/versions/1/rollback; GET POST /functions/x/aliases
GET PUT DELETE /functions/x/aliases/a; POST /functions/x/aliases/a/rollout; GET POST /layers; GET DELETE /layers/x
POST /layers/x/versions; GET PUT /functions/x/layers; GET POST /environments; GET PUT DELETE /environments/x
GET PUT DELETE /functions/x/environments/e; GET /templates; POST /functions/from-template; GET /quota; GET /stats
POST /functions/x/invoke; POST /functions/x/async; GET /invocations; GET /functions/x/invocations; GET /invocations/x
GET /invocations/x/logs; POST /invocations/x/replay; POST /invocations/x/cancel; GET /functions/x/logs/stream
GET /invocations/x/stream; GET DELETE /dlq; GET /dlq/stats; POST /dlq/retry; GET DELETE /dlq/x; POST /dlq/x/retry
POST /dlq/x/discard; GET /invocations/x/report
POST /invocations/x/report/retry; POST /functions/x/webhook/enable; POST /functions/x/webhook/disable
POST /functions/x/webhook/regenerate
PUT /functions/x/webhook; GET POST /workflows; GET PUT PATCH DELETE /workflows/x
POST /workflows/validate; GET POST /workflows/x/executions; GET /executions; GET /executions/x
GET /executions/x/history; POST /executions/x/stop
"""


def test_every_route_is_there_with_and_without_a_slash(locked_entrance: Api) -> None:
    admin = As(locked_entrance, make_key("root", "admin"))
    tried = 0
    for route in ROUTES.replace("\n", ";").split(";"):
        if not route.strip():
            continue
        *methods, path = route.split()
        try:
            resolve(f"/api/v1{path}")
        except Resolver404:
            pytest.fail(f"{path} is not there")
        for method in methods:
            for address in (path, f"{path}/"):
                answer = admin(method, address, **({} if method in ("GET", "DELETE") else {"json": {}}))
                assert answer.status_code not in (301, 302, 307, 308, 405), (method, address, answer.status_code)
                assert answer.status_code != 404 or answer.json()["code"] != "not_found", (method, address, answer.text)
            tried += 1
    assert tried == 87


def test_probes_and_pages(api: Api, worker: None) -> None:
    for path, status in (("/health", "healthy"), ("/health/live", "alive"), ("/health/ready", "ready")):
        answer = api.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": status})
    assert api.get("/api/schema").status_code == 200 and api.get("/api/docs").status_code == 200
    assert "nimbus_" in api.get("/metrics").text
    # The same address for a browser.
    page = api.get("/functions", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
