"""Old executions go with their steps, in small batches; definitions when nothing has them; and the metrics of both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from prometheus_client import REGISTRY

from tests.integration import executions
from tests.integration.plane import Api
from triggers import retention
from triggers.retention import Wanted
from workflows import advance as advancing
from workflows import retention as own
from workflows import services
from workflows.models import Execution, Step, StoredDefinition

pytestmark = pytest.mark.usefixtures("transactional_db")

NOW = datetime.now(UTC)
P = {"P": {"Type": "Pass", "End": True}}
WAIT = {"W": {"Type": "Wait", "Seconds": 86400, "End": True}}
MAP = {
    "M": {
        "Type": "Map",
        "ItemProcessor": {"StartAt": "I", "States": {"I": {"Type": "Pass", "End": True}}},
        "End": True,
    }
}


def days(ago: float) -> datetime:
    return NOW - timedelta(days=ago)


def ended(age_days: float, states: dict[str, Any] = P, given: Any = None, *, ended_days: float | None = None) -> Any:
    """An execution that was started and has ended so long ago."""
    row = executions.advance(executions.start(states, given))
    assert row.status == "succeeded"
    completed = days(age_days if ended_days is None else ended_days)
    Execution.objects.filter(pk=row.pk).update(created_at=days(age_days), completed_at=completed)
    return row


def prune(wanted: Wanted | None = None) -> dict[str, int]:
    return retention.prune(wanted or Wanted(), NOW, 60.0, pause=lambda _: None).deleted


class TestExecutions:
    def test_what_has_ended_and_is_old_enough(self) -> None:
        under_way = executions.advance(executions.start(WAIT))
        Execution.objects.filter(pk=under_way.pk).update(created_at=days(99))
        kept = {ended(29).pk, ended(31, ended_days=1).pk, under_way.pk}
        for _ in range(3):
            ended(31)
        assert prune() == {"executions": 3}
        assert set(Execution.objects.values_list("pk", flat=True)) == kept
        assert set(Step.objects.values_list("execution_id", flat=True)) == kept

    def test_with_many_steps_in_small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ended(31, MAP, list(range(25)))
        ended(31.5)
        sizes: list[int] = []
        real = own._delete_steps

        def noted(keys: Any, limit: int) -> int:
            sizes.append(real(keys, limit))
            return sizes[-1]

        monkeypatch.setattr(own, "_delete_steps", noted)
        monkeypatch.setattr(retention, "BATCH", 10)
        assert prune() == {"executions": 2}
        # The older one has one step, the other one a Map's and its items'.
        assert sizes == [1, 0, 10, 10, 6, 0]
        assert not Step.objects.exists() and not Execution.objects.exists()

    def test_asked_for_and_told(self, api: Api) -> None:
        ended(3)
        (told,) = (one for one in api.get("/retention/stats").json()["tables"] if one["name"] == "executions")
        assert (told["rows"], told["keep_days"], told["expired"]) == (1, 30, 0)
        asked = {"older_than_days": 2, "tables": ["executions"]}
        assert api.post("/retention/cleanup", asked | {"dry_run": True}).json()["would_delete"] == {"executions": 1}
        assert api.post("/retention/cleanup", asked).json()["deleted"] == {"executions": 1}


class TestDefinitions:
    def test_when_nothing_has_it(self) -> None:
        run = ended(10)
        services.workflow_update(str(run.workflow_id), definition={"StartAt": "W", "States": WAIT})
        StoredDefinition.objects.update(used_at=days(31))
        assert prune() == {} and StoredDefinition.objects.count() == 2
        services.workflow_delete(str(run.workflow_id))
        # One is the execution's still.
        assert prune() == {"workflow_definitions": 1}
        assert StoredDefinition.objects.get().pk == run.definition_id
        Execution.objects.update(created_at=days(31), completed_at=days(31))
        assert prune() == {"executions": 1, "workflow_definitions": 1}
        assert not StoredDefinition.objects.exists()

    def test_not_what_was_used_lately(self) -> None:
        definition = {"StartAt": "P", "States": P}
        services.workflow_create(name="a", definition=definition)
        services.workflow_delete("a")
        assert prune(Wanted(older_than_days=0)) == {}
        StoredDefinition.objects.update(used_at=days(31))
        services.workflow_create(name="b", definition=definition)
        services.workflow_delete("b")
        assert prune() == {}, "used again"
        StoredDefinition.objects.update(used_at=days(31))
        assert prune() == {"workflow_definitions": 1}


def _metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"nimbus_{name}", labels) or 0.0


def _ended(status: str) -> float:
    return _metric("workflow_executions_total", workflow="w-0", status=status)


def test_executions_and_steps_are_counted_once_they_are_committed() -> None:
    before, steps = _ended("succeeded"), _metric("workflow_step_duration_ms_count")
    run = executions.start(P)
    with transaction.atomic():
        advancing.advance(run.pk, NOW + timedelta(days=1))
        transaction.set_rollback(True)
    assert (_ended("succeeded"), _metric("workflow_step_duration_ms_count")) == (before, steps)
    executions.advance(run)
    assert _ended("succeeded") == before + 1
    assert _metric("workflow_step_duration_ms_count") == steps + 1
