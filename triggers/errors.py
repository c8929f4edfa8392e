"""What can be wrong with a request about triggers."""

from __future__ import annotations

from nimbus_project.core.errors import Conflict, InvalidRequest, NimbusError, NotFound, Unauthorized


class ScheduleNotFound(NotFound):
    code = "schedule_not_found"


class ScheduleExists(Conflict):
    code = "schedule_exists"


class ScheduleIsOwn(Conflict):
    """It stands for the function's own `cron_expression`."""

    code = "schedule_is_own"


class WebhookNotFound(NotFound):
    """Also one that is disabled: nobody is told which."""

    code = "webhook_not_found"


class SignatureRefused(Unauthorized):
    code = "signature_refused"

    def headers(self) -> dict[str, str]:
        # RFC 9110, 15.5.2: a 401 says what would be accepted; no API key would be.
        return super().headers() | {"WWW-Authenticate": "Webhook-Signature"}


class DeliveryReplayed(SignatureRefused):
    """The signature is right, and was accepted before."""

    code = "delivery_replayed"


class DeliveryNotFound(NotFound):
    code = "delivery_not_found"


class DeliveryNotKept(Conflict):
    """There is nothing of it that could be delivered again."""

    code = "delivery_not_kept"


class FunctionFailed(NimbusError):
    code = "function_failed"
    http_status = 502


class BadFunctionAnswer(FunctionFailed):
    """It meant to answer, in a form that can't be sent."""

    code = "bad_function_answer"


class FunctionTimedOut(NimbusError):
    code = "function_timeout"
    http_status = 504


class InvalidCloudEvent(InvalidRequest):
    code = "invalid_cloudevent"


class EventNotFound(NotFound):
    code = "event_not_found"


class EventRuleNotFound(NotFound):
    code = "event_rule_not_found"


class EventRuleExists(Conflict):
    code = "event_rule_exists"


class EventReplayNotFound(NotFound):
    code = "event_replay_not_found"


class AlertNotFound(NotFound):
    code = "alert_not_found"


class AlertExists(Conflict):
    code = "alert_exists"
