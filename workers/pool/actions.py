"""What the ledger leaves to be done outside the lock, and what a caller may be refused with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invocations.outcome import StartKind
from workers.pool.slots import Slot
from workers.sandbox import SandboxError

if TYPE_CHECKING:
    from workers.pool.lease import Waiter


class PoolTimeout(SandboxError):
    """No sandbox came free before the caller's deadline."""


class PoolClosed(SandboxError):
    """The worker is draining or stopping and takes no more work."""


# A value, treated as frozen; a dataclass that is frozen indeed takes three times as long to make, on each call's path.
@dataclass(slots=True)
class Grant:
    """Hand this sandbox to this waiter."""

    waiter: Waiter
    slot: Slot
    start: StartKind


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell this waiter that there will be none."""

    waiter: Waiter
    error: SandboxError


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin this boot."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Bury:
    """Destroy this sandbox, then call `buried`."""

    slot: Slot


Action = Grant | Refuse | Begin | Bury
