"""Which version of a split an invocation runs: validate weights, choose, shift. Pure: chance comes in as an argument.

A session stays where it is by *weighted rendezvous hashing*: each version of the alias draws a lot for the session, and
the highest ``weight / -ln(u)`` wins, where ``u`` in (0, 1) is the first 8 bytes of
``blake2b(function id NUL alias NUL session key NUL version)``. A version's lot depends on nothing but these four, so

* while the weights stand, a session always lands on the same version, in every process and after every restart;
* when one version's share grows and the others keep their proportions, sessions move to that version only, and no
  more of them than the share grew by (a rollout and its return move each session at most once each way).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Weights = tuple[tuple[int, int], ...]
"""``((version, weight), …)``: versions ascending, weights 0–100 that sum to 100."""

FULL = 100
MAX_SIDES = 100


def by_session(weights: Weights, function_id: str, alias: str, session_key: str) -> int:
    """The version that this session runs."""
    if len(weights) == 1:
        return weights[0][0]
    scope = f"{function_id}\0{alias}\0{session_key}\0".encode("utf-8", "surrogatepass")
    best, chosen = -1.0, weights[-1][0]
    for version, weight in weights:
        if weight <= 0:
            continue
        lot = weight / -math.log(_unit(scope, version))
        if lot > best:
            best, chosen = lot, version
    return chosen


def _unit(scope: bytes, version: int) -> float:
    """Evenly spread over (0, 1), neither end included: its logarithm must exist and not be 0."""
    digest = hashlib.blake2b(b"%b%d" % (scope, version), digest_size=8).digest()
    return ((int.from_bytes(digest) >> 12) + 0.5) / (1 << 52)


def by_chance(weights: Weights, chance: float) -> int:
    """The version for a call without a session; `chance` is in [0, 1)."""
    point = chance * FULL
    for version, weight in weights:
        point -= weight
        if point < 0:
            return version
    return weights[-1][0]


def weights_problem(given: Sequence[Mapping[str, Any]]) -> str:
    """Which rule the weights break, or "" when they keep all those that need no database."""
    if not given:
        return "Must name at least one version."
    if len(given) > MAX_SIDES:
        return f"Must name at most {MAX_SIDES} versions."
    for side in given:
        if problem := _side_problem(side):
            return problem
    versions = [side["version"] for side in given]
    if twice := sorted({v for v in versions if versions.count(v) > 1}):
        return f"Version {twice[0]} is there more than once; each version may be there once."
    total = sum(side["weight"] for side in given)
    return "" if total == FULL else f"The weights sum to {total}; they must sum to {FULL}."


def _side_problem(side: Mapping[str, Any]) -> str:
    version, weight = side["version"], side["weight"]
    # True is an int to Python and none to JSON.
    if type(version) is not int or version < 1:
        return f"version must be a positive integer, not {version!r:.40}."
    if type(weight) is not int or not 0 <= weight <= FULL:
        return f"The weight of version {version} must be an integer from 0 to {FULL}, not {weight!r:.40}."
    return ""


def as_weights(stored: Iterable[Mapping[str, int]]) -> Weights:
    """From ``[{"version", "weight"}]`` as it is stored and shown."""
    return tuple(sorted((side["version"], side["weight"]) for side in stored))


def as_stored(weights: Weights) -> list[dict[str, int]]:
    return [{"version": version, "weight": weight} for version, weight in weights]


def shifted(before: Weights, version: int, percent: int) -> Weights:
    """`version` at `percent`, the others sharing the rest in their old proportions, in whole percent that sum to 100
    (largest remainder; of equal ones the lower version first). A side that gets nothing stays, with weight 0, until
    `version` has all. Needs another side with weight while `percent` is below 100."""
    if percent >= FULL:
        return ((version, FULL),)
    others = [(v, w) for v, w in before if v != version and w > 0]
    whole = sum(weight for _, weight in others)
    if not whole:
        raise ValueError("no other side to share the rest")
    rest = FULL - percent
    shares = {v: rest * w // whole for v, w in others}
    by_remainder = sorted(others, key=lambda side: (-(rest * side[1] % whole), side[0]))
    for v, _ in by_remainder[: rest - sum(shares.values())]:
        shares[v] += 1
    return tuple(sorted([*shares.items(), (version, percent)]))


def share_of(weights: Weights, version: int) -> int:
    """Its weight, 0 when it has none."""
    return dict(weights).get(version, 0)
