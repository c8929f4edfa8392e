"""What is noted of one delivery to a webhook, from its coming to its answer: for the log of deliveries, and
counted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from triggers import deliveries
from triggers.deliveries import Noted
from triggers.signing import Verdict
from triggers.webhook_directory import LiveWebhook

_UNSEEN = Verdict()


@dataclass(slots=True)
class Receipt:
    """Filled in as far as the request has come."""

    live: LiveWebhook
    request_id: str
    address: str
    function_name: str = ""
    verdict: Verdict = _UNSEEN
    size_bytes: int = 0
    invocation_id: str | None = None
    _received_at: float = field(default_factory=time.time)
    _began: float = field(default_factory=time.perf_counter)

    def close(self, status: int, code: str) -> None:
        """It is answered; `code`: of a refusal."""
        verdict = self.verdict
        noted = Noted(
            self.live.function_id,
            self.invocation_id,
            verdict.delivery_id,
            status,
            str(verdict.problem or code),
            self.request_id,
            self.address[:64],
            self.size_bytes,
            (time.perf_counter() - self._began) * 1000,
            self._received_at,
        )
        deliveries.note(noted, self.function_name, code or ("accepted" if self.live.is_async else "answered"))
