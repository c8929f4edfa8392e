"""The rows of steps: the next one, the branches of a Parallel or the items of a Map, and their end. By who holds the
execution's row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.db.models import F

from workflows import calls
from workflows.engine import Fork
from workflows.models import UNDER_WAY, Execution, Step, StepStatus
from workflows.states import State

_TOGETHER = 500
"""Rows of one statement."""


def first_step(execution: Execution, state: State, now: datetime) -> Step:
    """Where the execution begins; not yet stored."""
    return _new(execution, state, bytes(execution.input), now)


def next_step(execution: Execution, step: Step, state: State, now: datetime) -> Step:
    """What follows a step that has ended, in the same branch; not yet stored."""
    assert step.output is not None, "a step that is followed has made something"
    return _new(execution, state, bytes(step.output), now, parent_id=step.parent_id, branch=step.branch)


def fork(execution: Execution, step: Step, fork: Fork, states: Mapping[str, State], now: datetime) -> None:
    """Store the first step of each branch. Of a Map no more begin than may run at once."""
    step.is_entered, step.wake_at, step.branches_open = True, None, len(fork.branches)
    step.branches_from = execution.steps_made + 1
    step.save(force_insert=step._state.adding)
    begun = []
    for number, branch in enumerate(fork.branches):
        one = _new(execution, states[branch.start_at], branch.input, now, parent_id=step.pk, branch=number)
        if number >= fork.at_once:
            one.status, one.wake_at = StepStatus.HELD, None
        begun.append(one)
    Step.objects.bulk_create(begun, batch_size=_TOGETHER)


class Parents:
    """Of the branches that end during one look at what is due; written together."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._left: Counter[UUID] = Counter()

    def leave(self, parent_id: UUID) -> None:
        """One of its branches has ended."""
        self._left[parent_id] += 1

    def forget(self, parent_id: UUID) -> None:
        """It has failed: what is left of its branches counts no more."""
        self._left.pop(parent_id, None)

    def settle(self) -> None:
        """Items that were held may begin, one for each that has ended; after its last branch a parent goes on."""
        for parent_id, left in self._left.items():
            parent = Step.objects.filter(pk=parent_id, status=StepStatus.RUNNING)
            parent.update(branches_open=F("branches_open") - left)
            if not parent.filter(branches_open=0).update(wake_at=self._now):
                held = Step.objects.filter(parent_id=parent_id, status=StepStatus.HELD).order_by("branch")
                next_ones = list(held.values_list("pk", flat=True)[:left])
                Step.objects.filter(pk__in=next_ones).update(status=StepStatus.RUNNING, wake_at=self._now)
        self._left.clear()


def outputs(step: Step) -> list[bytes]:
    """What the branches of its latest try have made, in their order."""
    ends = Step.objects.filter(parent=step, ends_branch=True, number__gte=step.branches_from).order_by("branch")
    return [bytes(output) for output in ends.values_list("output", flat=True) if output is not None]


def cancel(execution: Execution, now: datetime, *, below: UUID | None = None, but: UUID | None = None) -> None:
    """End whatever is under way: all of the execution, or what is part of one step, but for one."""
    rows = Step.objects.filter(execution=execution, status__in=UNDER_WAY)
    rows = rows.exclude(pk=but) if but is not None else rows
    open_steps = {pk: (parent_id, call) for pk, parent_id, call in rows.values_list("pk", "parent_id", "invocation_id")}
    gone = [pk for pk in open_steps if below is None or _is_below(pk, below, open_steps)]
    # Calls before steps: in this order an invocation's end locks them too.
    for pk in sorted(gone):
        if (invocation_id := open_steps[pk][1]) is not None:
            calls.cancel_call(invocation_id, now)
    ended = {"status": StepStatus.CANCELLED, "completed_at": now, "wake_at": None, "timeout_at": None}
    Step.objects.filter(pk__in=gone).update(**ended)


def _is_below(pk: UUID, below: UUID, open_steps: Mapping[UUID, tuple[UUID | None, UUID | None]]) -> bool:
    # A step that is part of another is open no longer than that one.
    parent_id = open_steps[pk][0]
    while parent_id is not None and parent_id != below:
        parent_id = open_steps[parent_id][0] if parent_id in open_steps else None
    return parent_id == below


def _new(
    execution: Execution, state: State, text: bytes, now: datetime, *, parent_id: UUID | None = None, branch: int = 0
) -> Step:
    execution.steps_made += 1
    return Step(
        execution=execution,
        number=execution.steps_made,
        parent_id=parent_id,
        branch=branch,
        state_name=state.name,
        state_type=state.type.value,
        status=StepStatus.RUNNING,
        input=text,
        created_at=now,
        wake_at=now,
    )
