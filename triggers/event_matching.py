"""Which rules fit an event, as far as their owners see it."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from accounts.principal import Principal
from triggers import event_rules, standing
from triggers.event_deliveries import Sending
from triggers.models import Event, EventRule
from triggers.patterns import TooCostly

MAX_COSTLY = 5
"""Of one event: rules whose matching may be given up on, each after about a second."""


def sendings_of(event: Event, rules: Iterable[EventRule]) -> tuple[list[Sending], str]:
    """The targets of those rules that fit, and what has to be said about it, if anything."""
    document = orjson.loads(bytes(event.body))
    found: list[Sending] = []
    owners: dict[tuple[int | None, str], Principal] = {}
    costly: list[str] = []
    for rule in rules:
        key = (rule.owner_id, rule.role)
        if key not in owners:
            owners[key] = standing.principal_of(*key)
        who = owners[key]
        if not who.may_see(event.owner_id, event.shared):
            continue
        try:
            fits = event_rules.pattern_of(rule.pattern).matches(document)
        except TooCostly:
            costly.append(rule.name)
            if len(costly) == MAX_COSTLY:
                break
            continue
        if fits:
            targets = enumerate(event_rules.targets_of(rule.targets))
            found += [Sending(rule, number, target, who, document) for number, target in targets]
    return found, f"It has too many values to be held against {', '.join(costly)}." if costly else ""
