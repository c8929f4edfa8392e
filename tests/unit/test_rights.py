"""Roles: what they may do, and what a key may be given."""

from __future__ import annotations

import pytest

from accounts.permissions import check
from accounts.principal import EMBEDDED, NOBODY, Principal, acting_as, principal_var
from accounts.rights import Right, effective, may_give
from nimbus_project.core.errors import Forbidden, Unauthorized

MAY = {
    "admin": set(Right),
    "developer": {Right.PUBLIC, Right.KNOWN, Right.INVOKE, Right.READ, Right.WRITE},
    "viewer": {Right.PUBLIC, Right.KNOWN, Right.READ},
    "invoker": {Right.PUBLIC, Right.KNOWN, Right.INVOKE},
}


@pytest.mark.parametrize("right", Right)
@pytest.mark.parametrize("role", MAY)
def test_what_a_role_may_do(role: str, right: Right) -> None:
    principal = Principal(user_id=1, role=role)
    if right in MAY[role]:
        check(principal, right)
    else:
        with pytest.raises(Forbidden):
            check(principal, right)


@pytest.mark.parametrize("right", [right for right in Right if right is not Right.PUBLIC])
def test_nobody_is_asked_for_a_key(right: Right) -> None:
    with pytest.raises(Unauthorized) as refused:
        check(NOBODY, right)
    assert refused.value.headers()["WWW-Authenticate"] == "Bearer"
    check(NOBODY, Right.PUBLIC)


def test_the_platform_itself_is_nobody_where_keys_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django without the entrance before it must not let everybody in."""
    from accounts import permissions
    from nimbus_project.config import Config

    check(EMBEDDED, Right.MANAGE)
    monkeypatch.setattr(permissions, "config", lambda: Config(require_keys=True))
    with pytest.raises(Unauthorized):
        check(EMBEDDED, Right.READ)


@pytest.mark.parametrize(
    ("key", "owner", "today"),
    [
        ("admin", "admin", "admin"),
        ("admin", "developer", "developer"),
        ("developer", "viewer", "viewer"),
        ("developer", "invoker", "invoker"),
        ("invoker", "developer", "invoker"),
        ("viewer", "invoker", ""),
        ("invoker", "viewer", ""),
        ("admin", "", ""),
    ],
)
def test_a_key_does_no_more_than_its_owner(key: str, owner: str, today: str) -> None:
    assert effective(key, owner) == today


def test_nobody_gives_away_more_than_they_have() -> None:
    assert may_give("developer", "invoker") and not may_give("developer", "admin")
    assert not may_give("viewer", "invoker") and not may_give("", "invoker")


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        (Principal(user_id=1, role="admin"), (True, True, True, True)),
        (Principal(user_id=1, role="developer"), (True, False, True, True)),
        (Principal(user_id=1, role="viewer"), (True, False, True, True)),
        (NOBODY, (False, False, False, False)),
    ],
)
def test_whose_functions_are_seen(who: Principal, sees: tuple[bool, ...]) -> None:
    own, others, shared, nobodys = (1, False), (2, False), (2, True), (None, False)
    assert tuple(who.may_see(*row) for row in (own, others, shared, nobodys)) == sees


def test_acting_as_ends_with_its_block() -> None:
    before = principal_var.get()
    with acting_as(NOBODY):
        assert principal_var.get() is NOBODY
    with pytest.raises(ZeroDivisionError), acting_as(NOBODY):
        _ = 1 / 0
    assert principal_var.get() is before
