"""How much functions were used lately: asked here, answered by whoever keeps the runs.

Functions lie below invocations and can't import them; the app above registers its answer when it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Usage:
    """The last 24 hours of one function."""

    invocations: int
    successes: int
    avg_latency_ms: float | None


UsageSource = Callable[[Sequence[UUID]], dict[UUID, Usage]]
_source: UsageSource | None = None


def register(source: UsageSource) -> None:
    global _source
    _source = source


def usage_of(function_ids: Sequence[UUID]) -> dict[UUID, Usage]:
    """By function id; one that was not used may be missing."""
    return _source(function_ids) if _source is not None and function_ids else {}
