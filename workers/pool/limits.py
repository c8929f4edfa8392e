"""PoolLimits: what one worker's pool may use, and what it keeps ready."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from functions.runtimes import RUNTIMES
from nimbus_project.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """The budget is memory: the sum of the sandboxes' limits, those being booted and destroyed included."""

    memory_mb: int = 8192
    max_sandboxes: int = 64
    idle_sec: float = 600.0
    boot_parallel: int = 2
    boot_timeout_sec: float = 60.0
    load_timeout_sec: float = 10.0
    prewarm: Mapping[str, int] = field(default_factory=dict)
    """Booted sandboxes without code to keep ready, by runtime."""
    prewarm_memory_mb: int = 256
    processors: int = 1
    """So many sandboxes of one version can work at once, however short its runs are."""

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """The limits the operator has set."""
        by_language = {
            "python": config.prewarm_python,
            "node": config.prewarm_node,
            "go": config.prewarm_go,
            "wasm": config.prewarm_wasm,
        }
        return cls(
            memory_mb=config.pool_memory_mb,
            max_sandboxes=config.pool_max_sandboxes,
            idle_sec=config.pool_idle_sec,
            boot_parallel=config.pool_boot_parallel,
            boot_timeout_sec=config.boot_timeout_sec,
            load_timeout_sec=config.load_timeout_sec,
            prewarm={name: by_language.get(runtime.folder, 0) for name, runtime in RUNTIMES.items()},
            prewarm_memory_mb=config.prewarm_memory_mb,
            processors=os.cpu_count() or 1,
        )
