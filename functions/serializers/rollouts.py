"""Shapes of requests and answers about rollouts."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from functions.models import Rollout, RolloutStatus
from functions.rollout_policy import Decision, Stats, steps_problem
from functions.rollouts import shown_stats
from functions.serializers.aliases import SideSerializer
from functions.serializers.strict import StrictSerializer

MAX_STEPS = 100


class RolloutStartSerializer(StrictSerializer):
    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1)
    steps = serializers.ListField(
        child=serializers.IntegerField(),
        max_length=MAX_STEPS,
        help_text="the new version's percentages, ascending, the last 100",
    )
    interval_sec = serializers.IntegerField(min_value=1, max_value=7 * 86_400, help_text="least length of a step")
    max_error_rate = serializers.FloatField(min_value=0, max_value=1, help_text="0–1")
    max_p95_ms = serializers.FloatField(required=False, allow_null=True, min_value=0.001, max_value=300_000)
    min_samples = serializers.IntegerField(
        required=False, min_value=1, max_value=1000, help_text="runs of the new version before a step is judged; 20"
    )

    def validate_steps(self, value: list[int]) -> list[int]:
        if problem := steps_problem(value):
            raise serializers.ValidationError(problem)
        return value


class StatsSerializer(serializers.Serializer):
    """Runs that count, of one side, in one step."""

    runs = serializers.IntegerField()
    failures = serializers.IntegerField()
    error_rate = serializers.FloatField(help_text="0–1")
    p95_ms = serializers.FloatField(allow_null=True)


class MeasuredSerializer(serializers.Serializer):
    new = StatsSerializer()
    old = StatsSerializer()


class HistoryEntrySerializer(serializers.Serializer):
    at = serializers.DateTimeField()
    step = serializers.IntegerField(help_text="in force after it, from 0")
    percent = serializers.IntegerField()
    action = serializers.ChoiceField(
        choices=["started", "advanced", "completed", "returned", "paused", "resumed", "aborted"]
    )
    reason = serializers.CharField(allow_blank=True)
    measured = MeasuredSerializer(required=False)


class RolloutSerializer(serializers.Serializer):
    """A rollout in an answer."""

    id = serializers.UUIDField()
    alias = serializers.CharField()
    version = serializers.IntegerField()
    status = serializers.ChoiceField(choices=RolloutStatus.choices)
    reason = serializers.CharField(required=False, help_text="why it ended; while it runs, what it waits for")
    steps = serializers.ListField(child=serializers.IntegerField())
    step = serializers.IntegerField(help_text="in force, from 0")
    percent = serializers.IntegerField(help_text="of the alias's calls that the new version gets now")
    interval_sec = serializers.IntegerField()
    max_error_rate = serializers.FloatField(allow_null=True)
    max_p95_ms = serializers.FloatField(required=False)
    min_samples = serializers.IntegerField()
    weights_before = SideSerializer(many=True)
    step_began_at = serializers.DateTimeField()
    history = HistoryEntrySerializer(many=True)
    measured = MeasuredSerializer(required=False, help_text="of the step in force, while it runs")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class RolloutListSerializer(serializers.Serializer):
    rollouts = RolloutSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


def rollout_shape(rollout: Rollout) -> dict[str, Any]:
    """A rollout as stored; empty optional fields left out."""
    shape: dict[str, Any] = {
        "id": str(rollout.pk),
        "alias": rollout.alias.name,
        "version": rollout.version,
        "status": str(rollout.status),
        "reason": rollout.reason,
        "steps": rollout.steps,
        "step": rollout.step,
        "percent": _percent(rollout),
        "interval_sec": rollout.interval_sec,
        "max_error_rate": rollout.max_error_rate,
        "max_p95_ms": rollout.max_p95_ms,
        "min_samples": rollout.min_samples,
        "weights_before": rollout.weights_before,
        "step_began_at": rollout.step_began_at,
        "history": rollout.history,
        "created_at": rollout.created_at,
        "updated_at": rollout.updated_at,
    }
    return {k: v for k, v in shape.items() if k not in _LEFT_OUT_WHEN_EMPTY or v}


_LEFT_OUT_WHEN_EMPTY = frozenset({"reason", "max_p95_ms"})


def _percent(rollout: Rollout) -> int:
    """After a return or an abort, what the version had before."""
    if rollout.status in (RolloutStatus.RETURNED, RolloutStatus.ABORTED):
        return sum(side["weight"] for side in rollout.weights_before if side["version"] == rollout.version)
    return int(rollout.steps[rollout.step])


def running_shape(rollout: Rollout, decision: Decision, new: Stats, old: Stats) -> dict[str, Any]:
    """A running rollout with what it waits for and what is measured now."""
    measured = {"new": shown_stats(new), "old": shown_stats(old)}
    return rollout_shape(rollout) | {"reason": decision.reason, "measured": measured}
