"""News of a change that never comes: a key or a limit of before it counts for seconds at most, in every door."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from accounts import directory as known_keys
from accounts import keys, quotas
from accounts.door import Recognised
from accounts.models import ApiKey, Quota
from accounts.principal import NOBODY
from tests.integration.accounts import make_key

pytestmark = pytest.mark.usefixtures("transactional_db", "nobody_else")


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """In place of the one that ages are told by."""
    made = Clock()
    monkeypatch.setattr("accounts.directory.time.monotonic", made.monotonic)
    return made


@pytest.fixture
def nobody_else() -> Iterator[None]:
    yield
    Quota.objects.all().delete()
    get_user_model().objects.all().delete()
    quotas.forget_all()
    known_keys.forget_all()


def test_a_revoked_key(clock: Clock) -> None:
    key = keys.parse(make_key("ann", "developer"))
    assert key is not None
    known = known_keys.look_up(key.prefix)
    # What the express way keeps for a connection goes by the same entry.
    kept = Recognised(NOBODY, known, ())
    ApiKey.objects.update(revoked_at=timezone.now())
    clock.now += known_keys.MAX_AGE_SEC - 0.01
    assert known_keys.known(key.prefix) is known and kept.still_holds(0.0)
    clock.now += 0.02
    assert known_keys.known(key.prefix) is None and not kept.still_holds(0.0)
    again = known_keys.look_up(key.prefix)
    assert again is not None and again.revoked


def test_a_lower_limit(clock: Clock) -> None:
    assert quotas.limits_of(7).max_invocations_per_day == 0
    Quota.objects.create(owner=None, max_invocations_per_day=3)
    clock.now += quotas.MAX_AGE_SEC - 0.01
    assert quotas.limits_of(7).max_invocations_per_day == 0
    clock.now += 0.02
    assert quotas.known(7) is None
    assert quotas.limits_of(7).max_invocations_per_day == 3
