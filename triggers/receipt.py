"""What is noted of one delivery to a webhook, from its coming to its answer: for the log of deliveries, and
counted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from django.utils import timezone

from triggers import deliveries
from triggers.deliveries import Noted
from triggers.signing import Verdict
from triggers.webhook_directory import LiveWebhook

_UNSEEN = Verdict()
_uuid = lru_cache(UUID)


@dataclass(slots=True)
class Receipt:
    """Filled in as far as the request has come."""

    live: LiveWebhook
    request_id: str
    address: str
    function_name: str = ""
    verdict: Verdict = _UNSEEN
    size_bytes: int = 0
    invocation_id: UUID | None = None
    _received_at: datetime = field(default_factory=timezone.now)
    _began: float = field(default_factory=time.perf_counter)

    def close(self, status: int, code: str) -> None:
        """It is answered; `code`: of a refusal."""
        outcome = code or ("accepted" if self.live.is_async else "answered")
        noted = Noted(
            function_id=_uuid(self.live.function_id),
            invocation_id=self.invocation_id,
            delivery_id=self.verdict.delivery_id,
            http_status=status,
            code=str(self.verdict.problem or code),
            request_id=self.request_id,
            address=self.address[:64],
            size_bytes=self.size_bytes,
            duration_ms=(time.perf_counter() - self._began) * 1000,
            received_at=self._received_at,
        )
        deliveries.note(noted, self.function_name, outcome)
