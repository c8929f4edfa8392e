"""Workflows as destinations: an ended run starts one execution with its record."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts import standing
from accounts.principal import acting_as
from invocations import lifecycle
from invocations.models import Invocation, Report
from invocations.outcome import Outcome, Status
from invocations.reports import delivery
from invocations.services import MAX_HOPS
from tests.integration.accounts import make_key
from tests.integration.bus import user_id
from tests.integration.plane import Api, in_threads, make_function, make_row, refusal
from workflows import services
from workflows.models import Execution

pytestmark = pytest.mark.usefixtures("transactional_db")

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
PASS = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
TO_W = {"on_success": {"workflow": "w"}}


def ended(function: Any, **values: Any) -> Invocation:
    """A run of this function that has succeeded."""
    given = {"max_attempts": 1, "function_name": function.name, "owner_id": function.owner_id} | values
    row: Invocation = make_row(NOW, function_id=function.pk, **given)
    held = lifecycle.claim(function.pk, "w", NOW, 10)
    assert held is not None
    assert lifecycle.finish(held, Outcome(status=Status.SUCCESS, output=b'{"done": true}'), None, NOW, 0.0)
    return row


def tried(function: Any, now: datetime = NOW) -> Report:
    report = delivery.take(function.pk, now)
    assert report is not None
    delivery.deliver(report, now)
    return Report.objects.get(pk=report.pk)


def test_started_once_with_the_record(api: Api) -> None:
    services.workflow_create(name="w", definition=PASS)
    function = make_function("f", **TO_W)
    row = ended(function, input=b'{"n": 1}', request_id="the-request", hops=2)
    report = delivery.take(function.pk, NOW)
    assert report is not None
    in_threads(6, lambda _: delivery.deliver(report, NOW))
    run = Execution.objects.get()
    report.refresh_from_db()
    assert (report.status, report.result_id, run.hops) == ("delivered", run.pk, 3)
    assert (run.trigger_type, run.request_id) == ("async", "the-request")
    record = json.loads(bytes(run.input))
    assert (record["requestPayload"], record["responsePayload"]) == ({"n": 1}, {"done": True})
    assert api.get(f"/invocations/{row.pk}/report").json()["destination"] == {"workflow": "w"}
    ended(function, hops=MAX_HOPS)
    assert "going round" in tried(function).error and Execution.objects.count() == 1


def test_one_that_is_gone_is_waited_for() -> None:
    services.workflow_create(name="w", definition=PASS)
    function = make_function("f", **TO_W)
    services.workflow_delete("w")
    ended(function)
    report = tried(function)
    assert (report.status, report.result_id) == ("pending", None) and "no workflow" in report.error
    services.workflow_create(name="w", definition=PASS)
    assert tried(function, NOW + timedelta(hours=1)).status == "delivered"
    assert Execution.objects.count() == 1


def test_given_by_name_of_one_that_may_be_seen(api: Api) -> None:
    make_key("dora", "developer")
    make_key("ben", "developer")
    with acting_as(standing.principal_of(user_id("ben"), "developer")):
        services.workflow_create(name="w", definition=PASS)
    body = {"name": "f", "runtime": "python3.11", "handler": "handler.main", "code": "main = 1"}
    for given in ({"workflow": "nothing"}, {"workflow": "a b"}, {"workflow": None}):
        assert "on_success" in refusal(api.post("/functions", body | {"on_success": given}), 400)["details"]
    assert api.post("/functions", body | TO_W).json()["on_success"] == {"workflow": "w"}
    from functions import services as functions

    # Dora gets it, and sees no workflow of ben's.
    functions.function_give("f", user_id("dora"))
    function = functions.function_get("f")
    ended(function)
    report = tried(function)
    assert "no workflow" in report.error and not Execution.objects.exists()
