"""The slots of limited functions that this worker's queued runs hold: short leases, renewed by the heart, so that those
of a worker that died are free again soon."""

from __future__ import annotations

import threading

from redis.exceptions import RedisError

from invocations import services, slots


class HeldSlots:
    """Thread-safe."""

    def __init__(self, lease_sec: float) -> None:
        self._lease_ms = int(lease_sec * 1000)
        self._held: dict[str, str] = {}
        # Held over what is sent to Redis: a slot that is renewed after it was given back would be lost for a lease.
        self._lock = threading.Lock()

    def take(self, function_id: str, slot: str, limit: int) -> bool:
        """False when the function is at its limit. Raises RedisError."""
        with self._lock:
            taken = services.take_slot_for(function_id, slot, limit, self._lease_ms)
            if taken:
                self._held[slot] = function_id
        return taken

    def release(self, slot: str) -> None:
        """With Redis away its lease runs out."""
        with self._lock:
            function_id = self._held.pop(slot)
            try:
                services.release_slot(function_id, slot)
            except RedisError:
                return

    def renew(self) -> None:
        """Raises RedisError."""
        with self._lock:
            if self._held:
                slots.renew([(function_id, slot) for slot, function_id in self._held.items()], self._lease_ms)
