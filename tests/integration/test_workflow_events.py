"""Workflows as targets of event rules, and what the bus is told of executions that have ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import AuditEntry
from accounts.principal import acting_as
from invocations.models import Invocation
from nimbus_project.core.errors import Unavailable
from tests.integration import executions
from tests.integration.accounts import As, make_key
from tests.integration.bus import event, publish, rule, user_id
from tests.integration.plane import Api, in_threads, make_function, refusal
from triggers import bus, event_deliveries, fan_out, workflow_runs
from triggers.models import Event, EventDelivery
from workflows import services
from workflows.models import Execution

pytestmark = pytest.mark.usefixtures("transactional_db")

PASS = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
FAIL = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Shop.Closed", "Cause": "It is Sunday."}}}
TARGETS = {"targets": [{"workflow": "w"}]}
PATTERN = {"type": ["order.paid"]}


def workflow(name: str = "w", definition: Any = PASS) -> Any:
    return services.workflow_create(name=name, definition=definition)


def only() -> EventDelivery:
    return EventDelivery.objects.get()


def finish_all() -> int:
    """Advance whatever is open to its end. The count."""
    rows = list(Execution.objects.filter(completed_at=None))
    for row in rows:
        executions.advance(row)
    return len(rows)


def told() -> list[dict[str, Any]]:
    rows = Event.objects.filter(type="nimbus.execution.finished").order_by("accepted_at")
    return [orjson.loads(bytes(row.body)) for row in rows]


class TestRules:
    def test_made_read_sent_back(self, api: Api) -> None:
        made, template = workflow(), {"order": "<$.data.order>"}
        make_function()
        targets = [{"workflow": "w", "input_template": template}, {"workflow": str(made.pk)}, {"function": "hello"}]
        answer = api.post("/event-rules", {"name": "r", "pattern": PATTERN, "targets": targets})
        assert answer.status_code == 201, answer.text
        shown = answer.json()["targets"]
        whole = {"workflow_id": str(made.pk), "workflow": "w"}
        assert shown[:2] == [whole | {"input_template": template}, whole] and shown[2]["function"] == "hello"
        assert api.put("/event-rules/r", answer.json()).json()["targets"] == shown
        entry = AuditEntry.objects.get(action="event_rule.create")
        assert entry.after["targets"] == ["workflow w", "workflow w", "hello"]

    @pytest.mark.parametrize(
        ("target", "field"),
        [
            ({"workflow": "nothing"}, "targets.0.workflow"),
            ({"workflow": "a\0b"}, "targets.0.workflow"),
            ({"workflow": 7}, "targets.0.workflow"),
            ({"workflow": "w", "function": "hello"}, "targets.0.workflow"),
            ({"workflow": "w", "alias": "latest"}, "targets.0.alias"),
            ({"workflow": "w", "input_template": "<$..b>"}, "targets.0.input_template"),
            ({"workflow": "w", "version": 1}, "targets.0.version"),
        ],
    )
    def test_refused_with_the_field(self, api: Api, target: dict[str, Any], field: str) -> None:
        workflow()
        make_function()
        body = {"name": "r", "pattern": PATTERN, "targets": [target]}
        assert field in refusal(api.post("/event-rules", body), 400)["details"]


class TestDeliveries:
    def test_an_execution_with_the_event(self, api: Api) -> None:
        made = workflow()
        rule(targets=[{"workflow": "w"}, {"workflow": "w", "input_template": {"n": "<$.data.amount>"}}])
        row = publish(hops=2)
        fan_out.run()
        first, second = EventDelivery.objects.order_by("target")
        started = {one.pk: one for one in Execution.objects.all()}
        assert set(started) == {first.execution_id, second.execution_id}
        run = started[first.execution_id]
        assert (run.trigger_type, run.workflow_id, run.hops) == ("event", made.pk, 3)
        assert orjson.loads(bytes(run.input)) == orjson.loads(bytes(row.body))
        assert orjson.loads(bytes(started[second.execution_id].input)) == {"n": 5}
        deliveries = api.get(f"/events/{row.pk}").json()["deliveries"]
        shown = next(one for one in deliveries if one["target"] == 0)
        assert (shown["status"], shown["execution_id"], shown["workflow"]) == ("delivered", str(run.pk), "w")
        assert shown["workflow_id"] == str(made.pk)
        assert not {"function", "function_id", "invocation_id"} & set(shown)
        assert not Invocation.objects.exists()

    def test_once_however_many_fan_it_out(self) -> None:
        workflow()
        rule(**TARGETS)
        publish(*[event(id=str(number)) for number in range(20)])
        assert all(isinstance(one, int) for one in in_threads(4, lambda _: fan_out.run()))
        rows = Event.objects.all()
        # As if workers had taken each for dead, all at once.
        in_threads(4, lambda _: [fan_out.fan_out([row], timezone.now()) for row in rows])
        assert Execution.objects.count() == EventDelivery.objects.filter(status="delivered").count() == 20

    def test_what_fails_in_the_middle_leaves_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        workflow()
        rule(**TARGETS)
        row = publish()
        with monkeypatch.context() as patch:
            patch.setattr(EventDelivery.objects, "bulk_create", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                fan_out.fan_out([row], timezone.now())
        assert not Execution.objects.exists()
        fan_out.run()
        assert Execution.objects.count() == 1 and only().status == "delivered"

    def test_what_can_not_be_now_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        workflow()
        rule(**TARGETS)
        publish()
        real = workflow_runs.execution_start

        def away(*given: Any, **more: Any) -> Any:
            real(*given, **more)
            raise Unavailable("away")

        with monkeypatch.context() as patch:
            patch.setattr(workflow_runs, "execution_start", away)
            fan_out.run()
        assert (only().status, only().attempts, only().execution_id) == ("pending", 1, None)
        assert not Execution.objects.exists()
        EventDelivery.objects.update(next_attempt_at=timezone.now())
        monkeypatch.setattr(event_deliveries, "LEASE", timedelta(0))

        def work(_: int) -> None:
            while fan_out.waiting(timezone.now()):
                fan_out._step()

        assert in_threads(4, work) == [None] * 4
        assert (only().status, only().attempts, only().error) == ("delivered", 2, "")
        assert Execution.objects.get().pk == only().execution_id

    def test_a_workflow_that_is_gone(self) -> None:
        make_function()
        workflow()
        rule(targets=[{"workflow": "w"}, {"function": "hello"}])
        services.workflow_delete("w")
        # Of the same name, and not meant.
        workflow()
        publish()
        fan_out.run()
        gone, other = EventDelivery.objects.order_by("target")
        assert (gone.status, gone.workflow_name, other.status) == ("failed", "w", "delivered")
        assert "no workflow" in gone.error and not Execution.objects.exists()

    def test_a_replay_starts_them_again(self, api: Api) -> None:
        workflow()
        rule(**TARGETS)
        publish()
        fan_out.run()
        Event.objects.update(accepted_at=F("accepted_at") - timedelta(minutes=5))
        now = timezone.now()
        asked = {"from": (now - timedelta(hours=1)).isoformat(), "to": now.isoformat(), "rule": "on-paid"}
        assert api.post("/events/replay", asked).status_code == 202
        fan_out.run()
        assert Execution.objects.count() == 2
        assert len(set(EventDelivery.objects.values_list("execution_id", flat=True))) == 2

    def test_what_a_template_makes_too_large(self) -> None:
        from nimbus_project.config import config

        workflow()
        rule(targets=[{"workflow": "w", "input_template": ["<$.data>"] * 20}, {"workflow": "w"}])
        publish(event(data="x" * (config().max_event_bytes // 10)))
        fan_out.run()
        assert sorted(EventDelivery.objects.values_list("target", "status")) == [(0, "failed"), (1, "delivered")]


class TestRights:
    def test_each_owners_own(self, locked_entrance: Api) -> None:
        from accounts import services as accounts
        from accounts import standing

        ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
        with acting_as(standing.principal_of(user_id("ann"), "developer")):
            workflow()
        body = {"name": "r", "pattern": PATTERN, **TARGETS}
        assert "targets.0.workflow" in refusal(ben.post("/event-rules", body), 400)["details"]
        answer = ann.post("/event-rules", body)
        assert answer.status_code == 201, answer.text
        publish(owner_id=user_id("ann"))
        publish(event(id="2"), owner_id=user_id("ben"))
        fan_out.run()
        run = Execution.objects.get()
        assert (run.owner_id, run.role) == (user_id("ann"), "developer")
        finish_all()
        seen = {
            name: who.get("/events?type=nimbus.execution.finished").json()["total"]
            for name, who in (("ann", ann), ("ben", ben))
        }
        assert seen == {"ann": 1, "ben": 0}
        accounts.user_update("ann", role="viewer")
        publish(event(id="3"), owner_id=user_id("ann"))
        fan_out.run()
        assert Execution.objects.count() == 1
        assert EventDelivery.objects.filter(status="failed").count() == 1

    def test_an_administrators_rule_starts_it_with_the_rights_of_the_workflows_owner(
        self, locked_entrance: Api
    ) -> None:
        from accounts import services as accounts
        from accounts import standing

        make_key("amy", "developer")
        root = As(locked_entrance, make_key("root", "admin"))
        with acting_as(standing.principal_of(user_id("amy"), "developer")):
            workflow()
        assert root.post("/event-rules", {"name": "r", "pattern": PATTERN, **TARGETS}).status_code == 201
        publish(owner_id=user_id("root"))
        fan_out.run()
        run = Execution.objects.get()
        assert (run.owner_id, run.role) == (user_id("amy"), "developer")
        accounts.user_update("amy", active=False)
        publish(event(id="2"), owner_id=user_id("root"))
        fan_out.run()
        assert EventDelivery.objects.get(status="failed").error.startswith("The owner of the workflow")
        assert Execution.objects.count() == 1


class TestFinished:
    @pytest.mark.parametrize(("definition", "status"), [(PASS, "succeeded"), (FAIL, "failed")])
    def test_each_end_is_told_once(self, definition: Any, status: str) -> None:
        made = workflow("close of day".replace(" ", "-"), definition)
        run = services.execution_start(made, b'{"secret": 1}', trigger_type="http", request_id="r-1")
        assert told() == []
        executions.advance(run)
        executions.advance(run)
        (one,) = told()
        assert (one["source"], one["subject"]) == ("/nimbus/workflows/close-of-day", str(run.pk))
        data = one["data"]
        assert (data["execution_id"], data["workflow_id"]) == (str(run.pk), str(made.pk))
        assert (data["workflow_name"], data["workflow_version"], data["status"]) == ("close-of-day", 1, status)
        assert data["trigger_type"] == "http" and data["started_at"] <= data["completed_at"]
        error = ("Shop.Closed", "It is Sunday.") if status == "failed" else (None, None)
        assert (data.get("error_code"), data.get("error")) == error
        assert "secret" not in str(one)

    def test_stopped_too(self) -> None:
        run = services.execution_start(workflow(), b"{}", trigger_type="http", request_id="r-1")
        services.execution_stop(str(run.pk))
        assert [one["data"]["status"] for one in told()] == ["cancelled"]

    def test_exactly_when_it_has_ended(self) -> None:
        run = services.execution_start(workflow(), b"{}", trigger_type="http", request_id="r-1")
        with transaction.atomic():
            services.execution_stop(str(run.pk))
            assert len(told()) == 1
            transaction.set_rollback(True)
        assert told() == []
        executions.advance(run)
        assert [one["data"]["status"] for one in told()] == ["succeeded"]

    def test_trouble_on_the_bus_keeps_none_from_ending(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("no bus")

        run = services.execution_start(workflow(), b"{}", trigger_type="http", request_id="r-1")
        monkeypatch.setattr(bus, "publish", broken)
        executions.advance(run)
        assert run.status == "succeeded"

    def test_a_workflow_that_starts_itself_stops(self) -> None:
        made = workflow()
        rule(pattern={"type": ["nimbus.execution.finished"]}, **TARGETS)
        services.execution_start(made, b"{}", trigger_type="http", request_id="r-1")
        rounds = 0
        while finish_all():
            fan_out.run()
            rounds += 1
            assert rounds < 50
        assert rounds == bus.MAX_HOPS + 2
        hops = list(Execution.objects.order_by("created_at").values_list("hops", flat=True))
        assert hops == list(range(bus.MAX_HOPS + 2))
        assert "going round" in Event.objects.order_by("-accepted_at")[0].error
