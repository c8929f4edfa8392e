"""What an alert says, to programs, to a chat and by mail. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from triggers.alert_policy import Kind, Told, shown_value

Message = Mapping[str, Any]
"""``{id, alert, alert_id, state, kind, function*, value, threshold, samples, window_sec, reason, at}``: what a webhook
is sent as JSON; `state` is a value of Told."""

_WORDS = {Told.FIRING: "fires", Told.RESOLVED: "is over", Told.TEST: "is being tested"}
_SIGNS = {Told.FIRING: "\U0001f534", Told.RESOLVED: "\U0001f7e2", Told.TEST: "\U0001f535"}
_NAMES = {
    Kind.ERROR_RATE: "error rate",
    Kind.P95_MS: "95th percentile",
    Kind.COLD_START_RATE: "rate of cold starts",
    Kind.DEAD_LETTERS: "dead letters",
    Kind.QUEUE_AGE_SEC: "age of the queue",
}


def title(message: Message) -> str:
    """One line without line breaks: names have none."""
    return f"{message['alert']} {_WORDS[Told(message['state'])]}"


def text(message: Message) -> str:
    """Some lines for a person."""
    kind = Kind(message["kind"])
    where = f"the function {message['function']}" if "function" in message else "all functions"
    lines = [
        f"The alert {title(message)}.",
        f"{_NAMES[kind].capitalize()} of {where}: {message['reason']}",
        f"Threshold {shown_value(kind, message['threshold'])}, over {message['window_sec']} s. {message['at']}",
    ]
    return "\n".join(lines)


def webhook_body(message: Message) -> bytes:
    return orjson.dumps(dict(message))


def slack_body(message: Message) -> bytes:
    """For an incoming webhook of Slack, or of what understands its words: Mattermost, Rocket.Chat, Discord's /slack."""
    sign, details = _SIGNS[Told(message["state"])], text(message).partition("\n")[2]
    return orjson.dumps({"text": f"{sign} *{_escaped(title(message))}*\n{_escaped(details)}"})


def mail(message: Message) -> tuple[str, str]:
    """Subject and text."""
    return f"[Nimbus] {title(message)}", text(message) + "\n"


def _escaped(said: str) -> str:
    """The three characters that Slack gives a meaning."""
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
