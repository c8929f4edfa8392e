"""Schedules of workflows: each fire time starts one execution, whoever looks, and everything else that a schedule of a
function promises."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from django.db import IntegrityError, transaction

from tests.integration import executions
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, make_function, refusal
from triggers import firing, schedule, schedules
from triggers.models import Schedule, ScheduleFire
from workflows import services
from workflows.models import Execution

pytestmark = pytest.mark.django_db(transaction=True)

EVERY_SECOND = "*/1 * * * * *"
T0 = datetime.fromisoformat("2026-06-01T12:00:00+00:00")
LONG = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 86400, "End": True}}}
NIGHTLY = {"workflow": "w", "cron_expression": "0 2 * * *"}
MISSING = "01900000-0000-7000-8000-000000000000"


def sec(number: float) -> datetime:
    return T0 + timedelta(seconds=number)


def make(cron: str = EVERY_SECOND, **given: Any) -> Schedule:
    """A schedule of a workflow `w` whose next fire time is the first one after T0."""
    services.workflow_create(name="w", definition=LONG)
    row = schedules.schedule_create(workflow="w", cron_expression=cron, **given)
    row.next_fire_at = schedule.next_fire(schedule.parse(row.cron_expression, row.cron_timezone), T0)
    row.save(update_fields=["next_fire_at"])
    return row


def story(row: Schedule) -> list[tuple[str, float]]:
    fires = ScheduleFire.objects.filter(schedule_id=row.pk).order_by("fire_time", "pk")
    return [(fire.status, (fire.fire_time - T0).total_seconds()) for fire in fires]


def end_all() -> None:
    for row in Execution.objects.filter(completed_at=None):
        services.execution_stop(str(row.pk))


class TestTicks:
    def test_the_run_is_an_execution_with_the_event_of_a_function(self) -> None:
        row = make("0 30 12 * * *", payload={"kind": "daily"})
        assert firing.tick(sec(1799)) == 0
        assert firing.tick(sec(1800.4)) == 1
        run = Execution.objects.get()
        assert (run.trigger_type, run.workflow_name, run.workflow_version) == ("cron", "w", 1)
        assert orjson.loads(bytes(run.input)) == {
            "source": "cron",
            "cron": "0 30 12 * * *",
            "scheduled_at": "2026-06-01T12:30:00Z",
            "payload": {"kind": "daily"},
        }
        fire = ScheduleFire.objects.get()
        assert (fire.execution_id, fire.invocation_id, fire.workflow_id) == (run.pk, None, row.workflow_id)
        row.refresh_from_db()
        assert row.next_fire_at == sec(1800 + 86400) and row.last_fire_at == sec(1800)
        assert executions.history(executions.advance(run)) == [("Wait", "running")]

    def test_each_second_once_however_many_look(self) -> None:
        row = make()
        for second in range(1, 5):
            in_threads(4, lambda _, s=second: firing.tick(sec(s + 0.3)))
        assert story(row) == [("fired", float(second)) for second in range(1, 5)]
        started = set(Execution.objects.values_list("pk", flat=True))
        assert started == set(ScheduleFire.objects.values_list("execution_id", flat=True)) and len(started) == 4

    def test_what_fails_in_the_middle_leaves_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from nimbus_project.core.errors import Unavailable
        from triggers import workflow_runs

        row = make()
        real = workflow_runs.execution_start

        def away(*given: Any, **more: Any) -> Any:
            real(*given, **more)
            raise Unavailable("Redis is away.")

        monkeypatch.setattr(workflow_runs, "execution_start", away)
        assert firing.tick(sec(1)) == 0
        assert story(row) == [] and not Execution.objects.exists()
        monkeypatch.setattr(workflow_runs, "execution_start", real)
        assert firing.tick(sec(1.5)) == 1
        assert story(row) == [("fired", 1.0)]

    def test_no_two_at_once(self) -> None:
        row = make(overlap_policy="skip")
        firing.tick(sec(1))
        # It waits for a day: under way.
        executions.advance(Execution.objects.get())
        firing.tick(sec(3))
        end_all()
        firing.tick(sec(4))
        assert story(row) == [("fired", 1.0), ("skipped", 2.0), ("skipped", 3.0), ("fired", 4.0)]
        assert Execution.objects.count() == 2
        assert not ScheduleFire.objects.filter(status="skipped").exclude(execution_id=None).exists()

    def test_a_run_by_request_counts_as_one(self) -> None:
        row = make(overlap_policy="skip")
        schedules.schedule_run(str(row.pk))
        firing.tick(sec(1))
        assert story(row)[0] == ("skipped", 1.0)

    def test_missed_and_made_up_for_once(self) -> None:
        row = make("* * * * *", catch_up_policy="catch_up_one")
        assert firing.tick(sec(3600 + 40)) == 1
        assert firing.tick(sec(3600 + 41)) == 0
        assert story(row) == [("missed", 60.0), ("fired", 3600.0)]
        assert b"13:00:00Z" in bytes(Execution.objects.get().input)

    def test_paused_it_fires_no_more(self) -> None:
        row = make()
        schedules.schedule_set_enabled(str(row.pk), enabled=False)
        assert firing.tick(sec(2)) == 0
        assert story(row) == [] and not Execution.objects.exists()

    def test_the_newest_version_runs(self) -> None:
        make()
        services.workflow_update("w", definition=LONG | {"Comment": "Another one."})
        firing.tick(sec(1))
        assert Execution.objects.get().workflow_version == 2

    def test_deleted_with_the_workflow_while_its_executions_stay(self) -> None:
        make()
        firing.tick(sec(1))
        services.workflow_delete("w")
        assert firing.tick(sec(2)) == 0
        assert not Schedule.objects.exists() and Execution.objects.count() == 1


class TestTheOwner:
    def test_its_rights_today(self) -> None:
        from accounts import services as accounts
        from accounts import standing
        from accounts.principal import acting_as
        from accounts.selectors import user_get

        make_key("ada", "developer")
        owner_id = user_get("ada").pk
        with acting_as(standing.principal_of(owner_id, "developer")):
            row = make()
        firing.tick(sec(1))
        assert (Execution.objects.get().owner_id, Execution.objects.get().role) == (owner_id, "developer")
        accounts.user_update("ada", role="viewer")
        firing.tick(sec(2))
        accounts.user_update("ada", role="developer")
        firing.tick(sec(3))
        accounts.user_update("ada", active=False)
        firing.tick(sec(4))
        assert [status for status, _ in story(row)] == ["fired", "refused", "fired", "refused"]
        assert "owner" in ScheduleFire.objects.filter(status="refused")[0].reason
        assert Execution.objects.count() == 2

    def test_anothers_is_not_there(self, locked_entrance: Api) -> None:
        from accounts import standing
        from accounts.principal import acting_as
        from accounts.selectors import user_get

        ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
        with acting_as(standing.principal_of(user_get("ann").pk, "developer")):
            services.workflow_create(name="w", definition=LONG)
        made = ann.post("/schedules", NIGHTLY)
        assert made.status_code == 201, made.text
        refusal(ben.post("/schedules", NIGHTLY), 404, "workflow_not_found")
        refusal(ben.get("/schedules?workflow_id=w"), 404, "workflow_not_found")
        assert ben.get("/schedules").json()["schedules"] == []
        for method, tail, body in (
            *(("GET", "", None), ("PUT", "", {"enabled": False}), ("DELETE", "", None)),
            *(("POST", "/pause", {}), ("POST", "/run", {}), ("GET", "/next", None), ("GET", "/history", None)),
        ):
            theirs, none = (ben(method, f"/schedules/{one}{tail}", json=body) for one in (made.json()["id"], MISSING))
            assert theirs.status_code == none.status_code == 404, (method, tail)
            assert theirs.json()["error"] == none.json()["error"]
        assert ann.get("/schedules").json()["schedules"] == [made.json()]
        root = As(locked_entrance, make_key("root", "admin"))
        assert root.get("/schedules").json()["total"] == 1


class TestApi:
    @pytest.fixture(autouse=True)
    def w(self, api: Api) -> Any:
        make_function("f")
        return services.workflow_create(name="w", definition=LONG)

    def test_made_read_changed_run_deleted(self, api: Api, w: Any) -> None:
        answer = api.post("/schedules", NIGHTLY | {"name": "nightly", "payload": [1, 2]})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["workflow_id"], made["workflow_name"]) == (str(w.pk), "w")
        assert made["next_fire_at"] and not {"function_id", "function_name", "alias", "version"} & set(made)
        assert api.get(f"/schedules/{made['id']}").json() == made
        of_f = api.post("/schedules", {"function": "f", "cron_expression": "0 2 * * *", "name": "nightly"}).json()
        assert [row["id"] for row in api.get("/schedules?workflow_id=w").json()["schedules"]] == [made["id"]]
        assert [row["id"] for row in api.get("/schedules?function_id=f").json()["schedules"]] == [of_f["id"]]
        refusal(api.get("/schedules?workflow_id=nothing"), 404, "workflow_not_found")
        refusal(api.post("/schedules", NIGHTLY | {"name": "nightly"}), 409, "schedule_exists")
        # What was read may be sent back; by id too.
        assert api.put(f"/schedules/{made['id']}", made | {"workflow": str(w.pk)}).status_code == 200
        ran = api.post(f"/schedules/{made['id']}/run")
        assert ran.status_code == 202 and set(ran.json()) == {"request_id", "execution_id", "status"}
        run = Execution.objects.get(pk=ran.json()["execution_id"])
        assert run.request_id == ran.json()["request_id"] == ran.headers["x-request-id"]
        (line,) = api.get(f"/schedules/{made['id']}/history").json()["history"]
        assert (line["execution_id"], line["execution_status"]) == (str(run.pk), "pending")
        assert line["by_request"] and "invocation_id" not in line
        entry = api.get("/audit?action=schedule.run").json()["audit"][0]
        assert entry["after"] == {"execution_id": str(run.pk)}
        assert len(api.get(f"/schedules/{made['id']}/next").json()["next_fire_times"]) == 10
        assert api("DELETE", f"/schedules/{made['id']}").status_code == 204
        assert Execution.objects.filter(pk=run.pk).exists()

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"function": "f"}, "workflow"),
            ({"alias": "latest"}, "alias"),
            ({"version": 1}, "version"),
            ({"workflow": ""}, "workflow"),
            ({"workflow": None}, "workflow"),
            ({"workflow": 7}, "workflow"),
            ({"workflow": "x" * 65}, "workflow"),
            ({"cron_expression": "no"}, "cron_expression"),
        ],
    )
    def test_refused_with_the_field(self, api: Api, changes: dict[str, Any], field: str) -> None:
        assert list(refusal(api.post("/schedules", NIGHTLY | changes), 400)["details"]) == [field]
        assert not Schedule.objects.exists()

    def test_other_refusals(self, api: Api) -> None:
        assert "function" in refusal(api.post("/schedules", {"cron_expression": "* * * * *"}), 400)["details"]
        for reference in ("nothing", MISSING):
            refusal(api.post("/schedules", NIGHTLY | {"workflow": reference}), 404, "workflow_not_found")
        made = api.post("/schedules", NIGHTLY).json()
        services.workflow_create(name="other", definition=LONG)
        for body, field in (
            ({"workflow": "other"}, "workflow"),
            ({"function": "f"}, "function"),
            ({"alias": "a"}, "alias"),
        ):
            assert list(refusal(api.put(f"/schedules/{made['id']}", body), 400)["details"]) == [field]
        of_f = api.post("/schedules", {"function": "f", "cron_expression": "0 2 * * *"}).json()
        refusal(api.put(f"/schedules/{of_f['id']}", {"workflow": "w"}), 400)
        assert api.get(f"/schedules/{made['id']}").json() == made

    def test_not_without_end(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(schedules, "MAX_SCHEDULES", 1)
        assert api.post("/schedules", NIGHTLY).status_code == 201
        assert "workflow" in refusal(api.post("/schedules", NIGHTLY), 400)["details"]

    def test_the_table_takes_one_of_the_two(self, w: Any) -> None:
        for target in ({}, {"workflow": w, "function_id": schedules.function_get("f").pk}):
            with pytest.raises(IntegrityError), transaction.atomic():
                Schedule.objects.create(name="x", cron_expression="* * * * *", **target)
