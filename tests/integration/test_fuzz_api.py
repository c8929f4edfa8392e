"""Whatever JSON is sent, the answer is never an error of ours, and a refusal always has the one shape."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.models import FunctionVersion
from tests.integration.plane import ECHO, Api, refusal

FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
JSON = {"content-type": "application/json"}
GOOD: dict[str, Any] = {"name": "fuzz", "runtime": "python3.11", "handler": "handler.main", "code": ECHO}
FIELDS = [
    *GOOD, "description", "tags", "pinned", "memory_mb", "timeout_sec", "max_concurrency", "max_retries",
    "max_event_age_sec", "env_vars", "network", "binary", "archive", "language", "input_schema", "id", "version",
    "status",
]  # fmt: skip

# Everything but lone surrogates, which JSON text cannot carry as UTF-8.
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=70) | st.sampled_from(
    ["", "\0", "../", "a.b", "hello", "python3.11", "nodejs20", "x" * 65, "true", "256", "1e400", "null", "NIMBUS_X"]
)
number = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalar = st.none() | st.booleans() | number | text
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)
body = st.dictionaries(st.sampled_from(FIELDS) | text, value, max_size=6)


def fine(answer: httpx.Response) -> bool:
    """A success (True) or a refusal in the one shape (False); anything else fails."""
    if answer.status_code < 300:
        return True
    assert answer.status_code < 500, f"{answer.status_code}: {answer.text[:300]}"
    refusal(answer, answer.status_code)
    return False


@pytest.fixture
def fuzzed(api: Api) -> Api:
    api.create()
    return api


@FUZZ
@given(body | value)
def test_creating(fuzzed: Api, content: Any) -> None:
    fine(fuzzed.post("/functions", content=orjson.dumps(content), headers=JSON))


@FUZZ
@given(field=st.sampled_from(FIELDS), content=value)
def test_creating_with_one_odd_field(fuzzed: Api, field: str, content: Any) -> None:
    answer = fuzzed.post("/functions", content=orjson.dumps(GOOD | {field: content}), headers=JSON)
    if fine(answer):
        made = answer.json()["function"]
        assert fuzzed.get(f"/functions/{made['name']}").json() == made
        fuzzed("DELETE", f"/functions/{made['id']}")


@FUZZ
@given(body | value)
def test_updating(fuzzed: Api, content: Any) -> None:
    before = fuzzed.get("/functions/hello").json()
    answer = fuzzed.put("/functions/hello", content=orjson.dumps(content), headers=JSON)
    after = fuzzed.get("/functions/hello").json()
    assert after == (answer.json() if fine(answer) else before)
    assert FunctionVersion.objects.filter(function_id=after["id"]).count() == after["version"]


@FUZZ
@given(value)
def test_an_event(fuzzed: Api, content: Any) -> None:
    answer = fuzzed.post("/functions/hello/async", content=orjson.dumps(content), headers=JSON)
    assert answer.status_code == 202, answer.text
    assert fuzzed.get(f"/invocations/{answer.json()['invocation_id']}").json()["input"] == content


@FUZZ
@given(st.binary(max_size=64))
def test_any_bytes(fuzzed: Api, content: bytes) -> None:
    for path in ("/functions", "/functions/hello/async", "/functions/hello/offline"):
        fine(fuzzed.post(path, content=content, headers=JSON))
    fine(fuzzed.put("/functions/hello", content=content, headers=JSON))


QUERIES = """limit offset cursor name tags runtime status ordering include function_id trigger_type before after version
    alias delay_sec session_key logs environment""".split()  # noqa: SIM905


@FUZZ
@given(st.dictionaries(st.sampled_from(QUERIES), text | number.map(str), max_size=3))
def test_any_query(fuzzed: Api, query: dict[str, str]) -> None:
    for path in ("/functions", "/invocations", "/functions/hello/invocations"):
        fine(fuzzed.get(path, params=query))
    fine(fuzzed.post("/functions/hello/async", {}, params=query))


@FUZZ
@given(text)
def test_any_reference(fuzzed: Api, reference: str) -> None:
    escaped = quote(reference, safe="")
    for path in (f"/functions/{escaped}", f"/invocations/{escaped}", f"/invocations/{escaped}/logs"):
        fine(fuzzed.get(path))
    for path in (f"/functions/{escaped}/async", f"/invocations/{escaped}/cancel", f"/invocations/{escaped}/replay"):
        fine(fuzzed.post(path, {}))


HEADERS = """X-Request-Id Idempotency-Key X-Nimbus-Session Origin Accept Content-Type If-Match Authorization
    X-API-Key""".split()  # noqa: SIM905
latin = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=40)


@FUZZ
@given(st.dictionaries(st.sampled_from(HEADERS), latin, max_size=3))
def test_any_header(fuzzed: Api, headers: dict[str, str]) -> None:
    raw = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
    fine(fuzzed("GET", "/functions/hello", headers=raw))
    fine(fuzzed("POST", "/functions/hello/async", content=b"{}", headers=raw))
    fine(fuzzed("PUT", "/functions/hello", content=b"{}", headers=raw))
