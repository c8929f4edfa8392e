"""Writing workflows; starting and stopping executions."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, quotas
from accounts.principal import principal_var
from invocations import idempotency
from nimbus_project.config import config
from nimbus_project.core import queue
from nimbus_project.core.errors import Conflict, InvalidRequest
from nimbus_project.core.ids import new_id
from nimbus_project.core.queue import Task
from workflows import advance, branches
from workflows import definition as definitions
from workflows.errors import ExecutionEnded, ExecutionExists, WorkflowExists
from workflows.models import (
    OPEN,
    Execution,
    ExecutionStatus,
    StoredDefinition,
    Workflow,
    WorkflowVersion,
)
from workflows.selectors import execution_get, workflow_get
from workflows.states import Definition, Failure

MAX_WORKFLOWS = 500
"""Of one owner."""
MAX_DEFINITION_BYTES = 1024 * 1024
MAX_SHOWN = 5
STOPPED = "Nimbus.Stopped"


def workflow_create(*, name: str, definition: Any, description: str = "") -> Workflow:
    """Raises InvalidRequest, which says what is wrong where, WorkflowExists."""
    who = principal_var.get()
    checked = checked_definition(definition)
    with transaction.atomic():
        quotas.lock_growth(who.user_id)
        if Workflow.objects.filter(owner_id=who.user_id).count() >= MAX_WORKFLOWS:
            raise InvalidRequest(f"There may be at most {MAX_WORKFLOWS} workflows. Delete one first.")
        row = Workflow(name=name, description=description, owner_id=who.user_id, role=who.role)
        row.definition = _stored(checked)
        _store(row)
        WorkflowVersion.objects.create(workflow=row, version=row.version, definition=row.definition)
        audit.record("workflow.create", "workflow", row.pk, row.name, after=_state(row))
    return row


def workflow_update(reference: str, **given: Any) -> Workflow:
    """Change what is given of `name`, `description`, `definition`. Another definition is a new version; executions
    under way go on with theirs. Raises WorkflowNotFound, WorkflowExists, InvalidRequest."""
    checked = checked_definition(given["definition"]) if "definition" in given else None
    with transaction.atomic():
        row = workflow_get(reference, for_update=True)
        before = _state(row)
        who = principal_var.get()
        if row.owner_id == who.user_id:
            row.role = who.role
        for field in ("name", "description"):
            if field in given:
                setattr(row, field, given[field])
        if checked is not None and (stored := _stored(checked)).pk != row.definition_id:
            row.definition, row.version = stored, row.version + 1
            WorkflowVersion.objects.create(workflow=row, version=row.version, definition=stored)
        _store(row)
        audit.record("workflow.update", "workflow", row.pk, row.name, before=before, after=_state(row))
    return row


def workflow_delete(reference: str) -> None:
    """Executions under way go on to their end; history stays. Raises WorkflowNotFound."""
    with transaction.atomic():
        row = workflow_get(reference, for_update=True)
        audit.record("workflow.delete", "workflow", row.pk, row.name, before=_state(row))
        row.delete()


def checked_definition(document: Any, field: str = "definition") -> Definition:
    """Raises InvalidRequest with each problem and where it is."""
    try:
        return parsed_definition(document)
    except definitions.DefinitionInvalid as error:
        problems = [f"{one.path}: {one.message}" if one.path else one.message for one in error.problems]
        raise InvalidRequest(f"{field}: {' '.join(problems[:MAX_SHOWN])}", details={field: problems}) from error


def parsed_definition(document: Any) -> Definition:
    """Raises DefinitionInvalid, for what is too large to be looked at too."""
    try:
        size = len(orjson.dumps(document))
    except orjson.JSONEncodeError as error:
        raise _unreadable("is nested too deep") from error
    if size > MAX_DEFINITION_BYTES:
        raise _unreadable(f"is {size} bytes long; at most {MAX_DEFINITION_BYTES} (1 MiB) are allowed")
    return definitions.parse(document)


def execution_start(
    workflow: Workflow,
    input_text: bytes,
    *,
    trigger_type: str,
    request_id: str,
    name: str = "",
    hops: int = 0,
    execution_id: UUID | None = None,
) -> Execution:
    """Durable: committed with the caller's transaction, gone on with by workers. `input_text` is JSON that was checked.
    With the name of an open execution that has the same input, that one. In nobody's name but the workflow's: whether
    the caller may is the caller's business. Raises ExecutionExists, InvalidRequest."""
    if len(input_text) > config().max_event_bytes:
        message = f"Is {len(input_text)} bytes of JSON; at most {config().max_event_bytes} are allowed."
        raise InvalidRequest(f"input: {message}", details={"input": [message]})
    now, row_id = timezone.now(), execution_id or new_id()
    definition = definitions.from_text(workflow.definition.document)
    row = Execution(
        id=row_id,
        workflow_id=workflow.pk,
        workflow_name=workflow.name,
        workflow_version=workflow.version,
        definition=workflow.definition,
        name=name or str(row_id),
        owner_id=workflow.owner_id,
        role=workflow.role,
        trigger_type=trigger_type,
        request_id=request_id,
        input=input_text,
        hops=hops,
        timeout_at=now + timedelta(seconds=definition.timeout_sec) if definition.timeout_sec else None,
        created_at=now,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        return _same_execution(row)
    first = branches.first_step(row, definition.states[definition.start_at], now)
    first.save(force_insert=True)
    Execution.objects.filter(pk=row.pk).update(steps_made=row.steps_made)
    queue.wake_after_commit(Task.ADVANCE, str(row.pk))
    return row


def execution_request(
    workflow: Workflow, input_text: bytes, *, idempotency_key: str = "", name: str = "", **more: Any
) -> Execution:
    """As `execution_start`, for somebody who asks for it over HTTP: committed when this returns. With an idempotency
    key that the caller used within a day for the same, the execution that has it, also when that has ended. Raises
    IdempotencyMismatch besides."""
    row_id = new_id()
    with transaction.atomic():
        if idempotency_key:
            asked = orjson.dumps(name) + input_text
            claim = idempotency.claim(str(workflow.pk), idempotency_key, asked, row_id, timezone.now())
            if not claim.first:
                return _first_of(claim.invocation_id)
        row = execution_start(workflow, input_text, name=name, execution_id=row_id, **more)
        if idempotency_key and row.pk != row_id:
            # Its name was there: that is what it can be found by again.
            idempotency.release(str(workflow.pk), idempotency_key, row_id)
    return row


def execution_stop(reference: str, *, error_code: str = "", error: str = "") -> Execution:
    """End it, and the calls that are under way for it. Raises ExecutionNotFound, ExecutionEnded."""
    with transaction.atomic():
        found = execution_get(reference)
        row = Execution.objects.select_for_update().get(pk=found.pk)
        if row.status not in OPEN:
            raise ExecutionEnded(f"The execution has ended already: {row.status}.")
        failure = Failure(error_code or STOPPED, error or "Stopped by request.")
        audit.record("execution.stop", "execution", row.pk, row.workflow_name, before={"status": row.status})
        advance.end(row, ExecutionStatus.CANCELLED, timezone.now(), failure=failure)
    return row


def _same_execution(asked: Execution) -> Execution:
    """As AWS's StartExecution: who asks twice gets the same one as long as it is open."""
    row = Execution.objects.filter(workflow_id=asked.workflow_id, name=asked.name).first()
    if row is not None and row.status in OPEN and bytes(row.input) == asked.input:
        return row
    raise ExecutionExists(f"The workflow {asked.workflow_name} has an execution named {asked.name} already.")


def _unreadable(why: str) -> definitions.DefinitionInvalid:
    return definitions.DefinitionInvalid((definitions.Problem("", why),))


def _first_of(execution_id: UUID) -> Execution:
    """What an idempotency key stands for."""
    row = Execution.objects.filter(pk=execution_id).first()
    if row is None:
        raise Conflict("The execution of this Idempotency-Key is not kept any more. Use a new key.")
    return row


def _stored(definition: Definition) -> StoredDefinition:
    text = orjson.dumps(definition.document)
    sha256 = hashlib.sha256(text).hexdigest()
    # Also locks it until the workflow that refers to it is stored: retention waits, and sees that it is in use.
    used = {"used_at": timezone.now()}
    new = used | {"document": text.decode()}
    return StoredDefinition.objects.update_or_create(pk=sha256, defaults=used, create_defaults=new)[0]


def _store(row: Workflow) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise WorkflowExists(f"A workflow named {row.name} exists already.") from error


def _state(row: Workflow) -> dict[str, Any]:
    """For the audit log."""
    return {
        "name": row.name,
        "description": row.description,
        "version": row.version,
        "definition_sha256": row.definition_id,
    }
