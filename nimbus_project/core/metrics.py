"""Nimbus's own Prometheus metrics, the names as the contract has them.

Web and workers write to shared files (`PROMETHEUS_MULTIPROC_DIR`, set by the supervisor), so that one scrape of any
web process shows all. Labels are names of functions, runtimes and workflows: bounded by the number of these.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000)

INVOCATIONS = Counter("nimbus_invocations_total", "Finished invocations.", ["function", "runtime", "status"])
DURATION = Histogram(
    "nimbus_invocation_duration_ms", "Run time of the handler.", ["function", "runtime", "cold_start"], buckets=_MS
)
ERRORS = Counter("nimbus_invocation_errors_total", "Invocations that did not succeed.", ["function", "error_type"])
COLD_STARTS = Counter("nimbus_cold_starts_total", "Runs that waited for a new sandbox.", ["function", "runtime"])
WARM_STARTS = Counter("nimbus_warm_starts_total", "Runs in a loaded sandbox.", ["function", "runtime"])
WEBHOOK_REQUESTS = Counter(
    "nimbus_webhook_requests_total",
    "Requests to webhooks; of no function where the key is unknown.",
    ["function", "outcome"],
)
RETRIES = Counter("nimbus_async_retries_total", "Attempts of queued invocations that were put back.")
DEAD_LETTERS = Counter("nimbus_dead_letters_total", "Queued invocations that failed for good.")
CRON_FIRES = Counter("nimbus_cron_fires_total", "Runs that schedules started.")
WORKFLOW_EXECUTIONS = Counter("nimbus_workflow_executions_total", "Executions that have ended.", ["workflow", "status"])
WORKFLOW_STEP_DURATION = Histogram(
    "nimbus_workflow_step_duration_ms", "From the beginning of a state's run to its end, all its tries.", buckets=_MS
)
POOL_SIZE = Gauge("nimbus_sandbox_pool_size", "Sandboxes there.", ["runtime"], multiprocess_mode="livesum")
POOL_WARM = Gauge(
    "nimbus_sandbox_pool_warm", "Loaded sandboxes without work.", ["runtime"], multiprocess_mode="livesum"
)
POOL_BUSY = Gauge("nimbus_sandbox_pool_busy", "Sandboxes at work.", ["runtime"], multiprocess_mode="livesum")
