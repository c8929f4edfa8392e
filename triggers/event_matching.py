"""Which rules fit an event, as far as their owners see it."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from triggers.event_deliveries import Sending
from triggers.models import Event
from triggers.patterns import TooCostly
from triggers.rule_directory import LiveRule

MAX_COSTLY = 5
"""Of one event: rules whose matching may be given up on, each after about a second."""


def sendings_of(event: Event, rules: Iterable[LiveRule]) -> tuple[list[Sending], str]:
    """The targets of those rules that fit, and what has to be said about it, if anything."""
    document = orjson.loads(bytes(event.body))
    found: list[Sending] = []
    costly: list[str] = []
    for rule in rules:
        if not rule.who.may_see(event.owner_id, event.shared):
            continue
        try:
            fits = rule.pattern.matches(document)
        except TooCostly:
            costly.append(rule.name)
            if len(costly) == MAX_COSTLY:
                break
            continue
        if fits:
            found += [Sending(event, document, rule, number) for number in range(len(rule.targets))]
    return found, f"It has too many values to be held against {', '.join(costly)}." if costly else ""
