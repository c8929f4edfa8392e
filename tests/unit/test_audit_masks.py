"""What the audit log keeps of a change, and what it must not."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from uuid import UUID

from accounts.audit import MAX_TEXT, shown


def test_only_what_differs_is_kept() -> None:
    before = {"name": "a", "timeout_sec": 3, "tags": ["x"]}
    assert shown(before, before | {"timeout_sec": 4}) == ({"timeout_sec": 3}, {"timeout_sec": 4})
    assert shown(None, {"name": "a"}) == (None, {"name": "a"})
    assert shown({"name": "a"}, None) == ({"name": "a"}, None)


def test_source_is_a_hash() -> None:
    old, new = shown({"code": "one"}, {"code": "two"})
    assert old == {"code": {"sha256": hashlib.sha256(b"one").hexdigest(), "bytes": 3}}
    assert new is not None and new["code"]["sha256"] != old["code"]["sha256"]
    assert shown(None, {"archive": b"\x00\xff"})[1] == {
        "archive": {"sha256": hashlib.sha256(b"\x00\xff").hexdigest(), "bytes": 2}
    }


def test_environment_variables_are_names_and_whether_they_changed() -> None:
    old, new = shown({"env_vars": {"A": "1", "B": "2"}}, {"env_vars": {"A": "1", "B": "3", "C": "4"}})
    assert old == {"env_vars": {"A": "***", "B": "***"}}
    assert new == {"env_vars": {"A": "***", "B": "*** (changed)", "C": "*** (new)"}}


def test_what_is_called_like_a_secret_is_masked_at_any_depth() -> None:
    state = {"webhook": {"signing_secret": "s3cr3t", "header": "X"}, "api_key": "s3cr3t", "password": ["s3cr3t"]}
    assert "s3cr3t" not in str(shown(None, state)[1])
    assert shown(None, state)[1]["webhook"]["header"] == "X"  # type: ignore[index]
    assert shown(None, {"secrets": {"TOKEN": "s3cr3t"}})[1] == {"secrets": {"TOKEN": "***"}}


def test_any_value_becomes_plain_json() -> None:
    at, uid = datetime(2026, 1, 2, tzinfo=UTC), UUID(int=7)
    kept = shown(None, {"at": at, "id": uid, "text": "a\0b\ud800", "long": "x" * 5000, "bytes": b"abc", 3: {1, 2}})[1]
    assert kept is not None
    assert kept["at"].startswith("2026-01-02") and kept["id"] == str(uid)
    assert "\0" not in kept["text"] and len(kept["long"]) == MAX_TEXT
    assert kept["bytes"] == "3 bytes" and sorted(kept["3"]) == [1, 2]
