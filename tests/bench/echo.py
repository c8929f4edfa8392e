"""Entry of the echo worker: `celery -A tests.bench.echo worker`."""

from __future__ import annotations

from tests.bench.floors import echo_app

app = echo_app()
