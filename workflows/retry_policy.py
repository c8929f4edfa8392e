"""Retry and Catch (§ "Error handling"): what follows a state's error. Pure: the jitter is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workflows.states import ALL, DATA_LIMIT, RUNTIME, TASK_FAILED, TIMEOUT, Catcher, Retrier, State

MAX_DELAY_SEC: Final = 86_400.0
"""Whatever rates and intervals are written: a day."""


@dataclass(frozen=True, slots=True)
class Again:
    delay_sec: float
    retrier: int
    """Which of the state's retriers it is: its count of tries grows by one."""


@dataclass(frozen=True, slots=True)
class Caught:
    catcher: Catcher


@dataclass(frozen=True, slots=True)
class GivenUp:
    """No rule is left: the error is that of the state's machine."""


def after(state: State, error: str, tried: tuple[int, ...], jitter: float) -> Again | Caught | GivenUp:
    """What follows. `tried`: how often each retrier of the state has let it try again during this visit, in their
    order (those that are missing: 0). `jitter`: at random, in [0, 1)."""
    for index, retrier in enumerate(state.retry):
        if is_matched(retrier.error_equals, error) and error != DATA_LIMIT:
            before = tried[index] if index < len(tried) else 0
            if before < retrier.max_attempts:
                return Again(_delay_sec(retrier, before, jitter), index)
            break
    for catcher in state.catch:
        if is_matched(catcher.error_equals, error):
            return Caught(catcher)
    return GivenUp()


def is_matched(names: tuple[str, ...], error: str) -> bool:
    """`States.Runtime` is matched by nothing, `States.DataLimitExceeded` by its own name only (AWS: "Handling errors
    in Step Functions workflows"); `States.TaskFailed` stands for every error but a timeout."""
    if error == RUNTIME:
        return False
    if error in names:
        return True
    if error == DATA_LIMIT:
        return False
    return ALL in names or (TASK_FAILED in names and error != TIMEOUT)


def _delay_sec(retrier: Retrier, before: int, jitter: float) -> float:
    try:
        delay = retrier.interval_sec * retrier.backoff_rate**before
    except OverflowError:
        delay = MAX_DELAY_SEC
    if retrier.max_delay_sec is not None:
        delay = min(delay, retrier.max_delay_sec)
    delay = min(delay, MAX_DELAY_SEC)
    return delay * jitter if retrier.has_full_jitter else delay
