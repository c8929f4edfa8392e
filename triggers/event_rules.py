"""Event rules: which events call which functions. Checked when they are written, so that matching never fails."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
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

MAX_RULES = 200
"""Of one owner: each event is held against all that may see it."""
MAX_TARGETS = 10

_ATTRIBUTE = re.compile(r"[a-z0-9]+")
_PAYLOADS = ("data", "data_base64")


@dataclass(frozen=True, slots=True)
class Target:
    """What a rule calls."""

    function_id: UUID
    function: str
    alias: str
    template: Template | None
    """None: the whole event."""


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
    return tuple(
        Target(
            function_id=UUID(one["function_id"]),
            function=one["function"],
            alias=one.get("alias", ""),
            template=compile_template(one["input_template"]) if "input_template" in one else None,
        )
        for one in orjson.loads(text)
    )


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
    if given.get("workflow"):
        _refuse(f"{at}.workflow", "Workflows can't be called by events yet. Name a function.")
    if not given.get("function"):
        _refuse(f"{at}.function", "Is required.")
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
    if given.get("input_template") is not None:
        checked_template(given["input_template"], f"{at}.input_template")
        target["input_template"] = given["input_template"]
    return target


def _refuse(field: str, message: str) -> None:
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
        "targets": [
            f"{one['function']}:{one['alias']}" if "alias" in one else one["function"] for one in shown_targets(rule)
        ],
        "enabled": rule.enabled,
    }
