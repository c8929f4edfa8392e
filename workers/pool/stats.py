"""PoolStats: one moment of a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """One moment of a pool, for metrics and heartbeats."""

    size: int
    """Sandboxes held, those being booted or destroyed included."""
    warm: int
    busy: int
    booting: int
    prewarmed: Mapping[str, int]
    """By runtime."""
    waiting: int
    memory_mb: int
    """Sum of the limits of all held."""
    memory_limit_mb: int
    loaded: Sequence[str]
