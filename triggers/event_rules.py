"""Event rules: which events call which functions and start which workflows. Checked when they are written, so that
matching never fails."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn, cast
from uuid import UUID

import orjson
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from accounts import audit, quotas, references, standing
from accounts.principal import Principal, acting_as, principal_var
from accounts.visibility import owned
from functions import aliases
from functions.errors import AliasNotFound, FunctionNotFound
from functions.selectors import function_get
from nimbus_project.core.errors import Forbidden, InvalidRequest
from triggers.errors import EventRuleExists, EventRuleNotFound
from triggers.input_template import Template, TemplateError, compile_template
from triggers.models import EventRule
from triggers.patterns import Pattern, PatternError, compile_pattern
from workflows.errors import WorkflowNotFound
from workflows.selectors import workflow_get

MAX_RULES = 200
"""Of one owner: each event is held against all that may see it."""
MAX_TARGETS = 10

_ATTRIBUTE = re.compile(r"[a-z0-9]+")
_PAYLOADS = ("data", "data_base64")


@dataclass(frozen=True, slots=True)
class Target:
    """What a rule calls: a function, or else a workflow."""

    template: Template | None
    """None: the whole event."""
    function_id: UUID | None = None
    function: str = ""
    alias: str = ""
    workflow_id: UUID | None = None
    workflow: str = ""


def rules() -> QuerySet[EventRule]:
    """Those that may be seen, by name."""
    return EventRule.objects.filter(owned()).order_by("name", "id")


def rule_get(reference: str, *, for_update: bool = False) -> EventRule:
    """By id or name, among those that may be seen; of one name, the principal's own first. Raises EventRuleNotFound,
    AmbiguousName."""
    rows = rules().select_for_update() if for_update else rules()
    return references.meant(rows, reference, "event rule", EventRuleNotFound)


def rule_create(*, name: str, pattern: Any, targets: Sequence[Mapping[str, Any]], **more: Any) -> EventRule:
    """`more`: `description`, `enabled`. Raises InvalidRequest, EventRuleExists."""
    who = principal_var.get()
    rule = EventRule(name=name, owner_id=who.user_id, role=who.role, **more)
    _set(rule, pattern=pattern, targets=targets)
    with transaction.atomic():
        quotas.lock_growth(who.user_id)
        if EventRule.objects.filter(owner_id=who.user_id).count() >= MAX_RULES:
            raise InvalidRequest(f"There may be at most {MAX_RULES} event rules. Delete one first.")
        _store(rule)
        audit.record("event_rule.create", "event_rule", rule.pk, rule.name, after=_state(rule))
    return rule


def rule_update(reference: str, **given: Any) -> EventRule:
    """Change what is given. From now on the rule may what the key may that this was asked with. Raises
    EventRuleNotFound, EventRuleExists, InvalidRequest."""
    with transaction.atomic():
        rule = rule_get(reference, for_update=True)
        before = _state(rule)
        who = principal_var.get()
        if rule.owner_id == who.user_id:
            rule.role = who.role
        for field in ("name", "description", "enabled"):
            if field in given:
                setattr(rule, field, given[field])
        _set(rule, **{field: given[field] for field in ("pattern", "targets") if field in given})
        _store(rule)
        audit.record("event_rule.update", "event_rule", rule.pk, rule.name, before=before, after=_state(rule))
    return rule


def rule_delete(reference: str) -> None:
    """What it has delivered stays in the history. Raises EventRuleNotFound."""
    with transaction.atomic():
        rule = rule_get(reference, for_update=True)
        audit.record("event_rule.delete", "event_rule", rule.pk, rule.name, before=_state(rule))
        rule.delete()


def checked_pattern(value: Any, field: str = "pattern") -> Pattern:
    """Raises InvalidRequest that names the path."""
    try:
        return compile_pattern(value)
    except PatternError as error:
        raise InvalidRequest(f"{field}: {error}", details={field: [str(error)]}) from error


def checked_template(value: Any, field: str = "input_template") -> Template:
    """Raises InvalidRequest that names the path."""
    try:
        return compile_template(value)
    except TemplateError as error:
        raise InvalidRequest(f"{field}: {error}", details={field: [str(error)]}) from error


# Every event is held against the same patterns: compiled once, by their text.
@lru_cache(maxsize=4096)
def pattern_of(text: str) -> Pattern:
    """Of a stored rule."""
    return compile_pattern(orjson.loads(text))


@lru_cache(maxsize=4096)
def targets_of(text: str) -> tuple[Target, ...]:
    """Of a stored rule."""
    return tuple(_target(one) for one in orjson.loads(text))


def _target(stored: Mapping[str, Any]) -> Target:
    template = compile_template(stored["input_template"]) if "input_template" in stored else None
    if "workflow_id" in stored:
        return Target(template, workflow_id=UUID(stored["workflow_id"]), workflow=stored["workflow"])
    function_id = UUID(stored["function_id"])
    return Target(template, function_id=function_id, function=stored["function"], alias=stored.get("alias", ""))


def shown_targets(rule: EventRule) -> list[dict[str, Any]]:
    """As they are stored."""
    return cast("list[dict[str, Any]]", orjson.loads(rule.targets))


def _set(rule: EventRule, **given: Any) -> None:
    if "pattern" in given:
        checked_pattern(given["pattern"])
        _check_attributes(given["pattern"])
        rule.pattern = orjson.dumps(given["pattern"]).decode()
    if "targets" in given:
        who = standing.principal_of(rule.owner_id, rule.role)
        if not standing.may_call(who):
            raise Forbidden("The owner of this rule may not call functions.")
        rule.targets = orjson.dumps(_checked_targets(given["targets"], who)).decode()


def _check_attributes(pattern: Mapping[str, Any], path: str = "") -> None:
    """A pattern that can't fit any CloudEvent is a mistake, such as one that was written for EventBridge's events."""
    for name, value in pattern.items():
        at = f"{path}{name}"
        if name == "$or":
            for number, one in enumerate(value):
                _check_attributes(one, f"{at}[{number}].")
        elif name in _PAYLOADS:
            continue
        elif not _ATTRIBUTE.fullmatch(name):
            _refuse("pattern", f"{at}: No attribute of a CloudEvent can be called so; the payload is under data.")
        elif isinstance(value, dict):
            _refuse("pattern", f"{at}: An attribute is a plain value; the payload is under data.")


def _checked_targets(given: Sequence[Mapping[str, Any]], who: Principal) -> list[dict[str, Any]]:
    if not 1 <= len(given) <= MAX_TARGETS:
        _refuse("targets", f"Must be 1 to {MAX_TARGETS}.")
    with acting_as(who):
        return [_checked_target(one, f"targets.{number}") for number, one in enumerate(given)]


def _checked_target(given: Mapping[str, Any], at: str) -> dict[str, Any]:
    target = _workflow_target(given, at) if given.get("workflow") else _function_target(given, at)
    if given.get("input_template") is not None:
        checked_template(given["input_template"], f"{at}.input_template")
        target["input_template"] = given["input_template"]
    return target


def _workflow_target(given: Mapping[str, Any], at: str) -> dict[str, Any]:
    if given.get("function"):
        _refuse(f"{at}.workflow", "Give either a function or a workflow, not both.")
    if given.get("alias"):
        _refuse(f"{at}.alias", "Is for functions only: of a workflow the newest version runs.")
    try:
        workflow = workflow_get(given["workflow"])
    except WorkflowNotFound as error:
        _refuse(f"{at}.workflow", error.message)
    return {"workflow_id": str(workflow.pk), "workflow": workflow.name}


def _function_target(given: Mapping[str, Any], at: str) -> dict[str, Any]:
    if not given.get("function"):
        _refuse(f"{at}.function", "Is required; or a workflow.")
    try:
        function = function_get(given["function"])
        target = {"function_id": str(function.pk), "function": function.name}
        if alias := given.get("alias", ""):
            aliases.alias_get(function, alias)
            target["alias"] = alias
    except FunctionNotFound as error:
        _refuse(f"{at}.function", error.message)
    except AliasNotFound as error:
        _refuse(f"{at}.alias", error.message)
    return target


def _refuse(field: str, message: str) -> NoReturn:
    raise InvalidRequest(f"{field}: {message}", details={field: [message]})


def _store(rule: EventRule) -> None:
    try:
        with transaction.atomic():
            rule.save()
    except IntegrityError as error:
        raise EventRuleExists(f"An event rule named {rule.name} exists already.") from error


def _state(rule: EventRule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "description": rule.description,
        "pattern": rule.pattern,
        "targets": [_told(one) for one in shown_targets(rule)],
        "enabled": rule.enabled,
    }


def _told(target: Mapping[str, Any]) -> str:
    if "workflow" in target:
        return f"workflow {target['workflow']}"
    return f"{target['function']}:{target['alias']}" if "alias" in target else str(target["function"])
