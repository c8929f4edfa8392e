"""What one call printed, as its LOG frames come in: checked and bounded."""

from __future__ import annotations

import logging
import time

from invocations.outcome import LogLine
from workers.frames import Frame, FrameError
from workers.sandbox import LogSink

logger = logging.getLogger(__name__)

_STREAMS = frozenset({"stdout", "stderr"})
_LINE_COST = 16
"""Least that a line counts: a million empty lines are not free for the one who keeps them."""
_FLOOD_FACTOR = 4
_FLOOD_SLACK_BYTES = 1024 * 1024


def clean(value: object, limit: int) -> str:
    """Text of the user's, fit for any store: a string without NUL, of `limit` characters at most."""
    if not isinstance(value, str):
        return ""
    text = value.replace("\0", "\ufffd") if "\0" in value else value
    return text if len(text) <= limit else text[:limit] + "…"


class CallLogs:
    """Collects `lines` and passes each on to `sink`. Keeps `limit` bytes, then one note; a flood is a FrameError."""

    def __init__(self, limit: int, sink: LogSink | None = None, after: CallLogs | None = None) -> None:
        """`after`: what the load printed, put before this call's lines (the sink has had it)."""
        self.lines: list[LogLine] = list(after.lines) if after else []
        self._limit = limit
        self._sink = sink
        self._kept = 0
        self._seen = 0
        self._full = False

    def take(self, frame: Frame) -> None:
        """Add a LOG frame's lines. Raises FrameError."""
        stream = frame.head.get("stream")
        if not isinstance(stream, str) or stream not in _STREAMS:
            raise FrameError("a LOG frame was of no known stream")
        self._seen += len(frame.body)
        if self._seen > self._limit * _FLOOD_FACTOR + _FLOOD_SLACK_BYTES:
            raise FrameError(f"more than {self._seen} bytes of output in one call")
        at_ms = frame.head.get("at_ms")
        if not isinstance(at_ms, int) or not 0 <= at_ms < 1 << 53:
            at_ms = int(time.time() * 1000)
        text = frame.body.decode("utf-8", "replace")
        for line in text.removesuffix("\n").split("\n"):
            if self._full:
                return
            self._add(LogLine(at_ms, stream, line.replace("\0", "\ufffd")))

    def _add(self, line: LogLine) -> None:
        self._kept += max(_LINE_COST, len(line.text))
        if self._kept > self._limit + _LINE_COST * 64:
            self._full = True
            line = LogLine(line.at_ms, "system", f"The output was cut: more than {self._limit} bytes in one call.")
        self.lines.append(line)
        if self._sink is None:
            return
        try:
            self._sink(line)
        except Exception:
            logger.exception("log sink failed; this call's further lines are only collected")
            self._sink = None
