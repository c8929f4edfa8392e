"""Which worker gets a call: consistent hashing with bounded load. Pure.

Every web process ranks the workers alike for one version (rendezvous hashing, Thaler and Ravishankar 1996), so its
calls meet a warm sandbox; no worker is given more than its share times `BOUND` (Mirrokni, Thorup and Zadimoghaddam
2016), so a version that is hot spreads over the next ones in its ranking.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence

BOUND = 1.25


def ranking(version_key: str, workers: Iterable[str], warm: Collection[str]) -> list[str]:
    """Ids of workers, the first choice first: those where the version is warm before the others."""

    def rank(worker: str) -> tuple[bool, bytes]:
        return worker not in warm, hashlib.blake2b(f"{version_key} {worker}".encode(), digest_size=8).digest()

    return sorted(workers, key=rank)


def choose(ranked: Sequence[str], load: Mapping[str, int]) -> list[str]:
    """In which order to ask them: who is within its bound first. `load`: calls each has of this process now."""
    if len(ranked) < 2:
        return list(ranked)
    bound = math.ceil(BOUND * (sum(load.get(worker, 0) for worker in ranked) + 1) / len(ranked))
    return sorted(ranked, key=lambda worker: load.get(worker, 0) >= bound)
