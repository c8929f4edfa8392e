"""One JSON object a line, the request id in each. No payloads, no secrets."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

request_id_var: ContextVar[str] = ContextVar("nimbus_request_id", default="")
"""The id of the request (or of the invocation's request, in a worker) this code runs for."""

_OWN_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """``timestamp level logger event request_id`` and whatever came as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if request_id := request_id_var.get():
            line["request_id"] = request_id
        for key, value in record.__dict__.items():
            if key not in _OWN_FIELDS:
                line[key] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:
            # What orjson refuses (lone surrogates, integers beyond 64 bits, deep nesting) must not cost the line.
            return json.dumps({key: _plain(value) for key, value in line.items()})


def _plain(value: Any) -> float | str | None:
    if value is None or isinstance(value, float | bool):
        return value
    return str(value).encode("utf-8", "replace").decode()


def logging_config(level: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`."""
    quiet = {"level": "WARNING", "handlers": ["stderr"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "nimbus_project.core.logging.JsonFormatter"}},
        "filters": {"outages": {"()": "nimbus_project.core.away.OutageFilter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["outages"]}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            # Named, because Celery sets the root's level to its own.
            "nimbus": {"level": level},
            # Django logs each 4xx as a warning: the answer says it already.
            "django.request": {"level": "ERROR", "handlers": ["stderr"], "propagate": False},
            "django.server": quiet,
            "uvicorn.error": quiet,
            "uvicorn.access": quiet,
            "celery": quiet,
            "kombu": quiet,
            "docker": quiet,
            "urllib3": quiet,
            # They log whole URLs, and some of those are secrets (Slack's).
            "httpx": quiet,
            "httpcore": quiet,
        },
    }
