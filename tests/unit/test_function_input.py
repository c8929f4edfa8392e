"""What may be in a request to create or update a function."""

from __future__ import annotations

from typing import Any

import pytest

from functions.serializers.functions import MAX_ENV_BYTES, FunctionCreateSerializer, FunctionUpdateSerializer
from nimbus_project.core.exception_handler import flatten

LIMIT = 512 * 1024
GOOD: dict[str, Any] = {"name": "hello", "runtime": "python3.11", "handler": "handler.main", "code": "x = 1"}


def errors_of(changes: dict[str, Any]) -> dict[str, list[str]]:
    serializer = FunctionCreateSerializer(data=GOOD | changes)
    return {} if serializer.is_valid() else {key: list(value) for key, value in flatten(serializer.errors).items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "a"},
        {"name": "A-b_9"},
        {"name": "x" * 64},
        {"code": "x" * LIMIT},
        {"code": "€" * (LIMIT // 3)},
        {"code": "  \n\tx = 1\n\n"},
        {"handler": "my-module.main"},
        {"handler": "a.b.main"},
        {"handler": "index.$main"},
        {"memory_mb": 128},
        {"memory_mb": 3072},
        {"timeout_sec": 1},
        {"timeout_sec": 300},
        {"env_vars": {}},
        {"env_vars": {"_A1": "", "b": " x "}},
        {"env_vars": {"A": "x" * (MAX_ENV_BYTES - 1)}},
        {"env_vars": {"A": "€" * 1365}},  # 1 + 4095 bytes
        {"tags": []},
        {"tags": ["a"] * 50},
        {"tags": ["x" * 64, "ü ñ"]},
        {"network": "egress"},
        {"id": "sent back", "status": "sent back", "created_at": 1},  # what an answer had is passed over
    ],
    ids=lambda changes: repr(changes)[:60],
)
def test_what_is_taken(changes: dict[str, Any]) -> None:
    assert errors_of(changes) == {}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "9a"}, "name"),
        ({"name": "_a"}, "name"),
        ({"name": "../a"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "ä"}, "name"),
        ({"name": "а"}, "name"),  # Cyrillic
        ({"name": "a\0"}, "name"),
        ({"name": 1}, "name"),
        ({"name": None}, "name"),
        ({"name": ["a"]}, "name"),
        ({"runtime": "python2"}, "runtime"),
        ({"runtime": ["python3.11"]}, "runtime"),
        ({"runtime": {}}, "runtime"),
        ({"runtime": None}, "runtime"),
        ({"handler": "main"}, "handler"),
        ({"handler": "a."}, "handler"),
        ({"handler": ".main"}, "handler"),
        ({"handler": "../a.main"}, "handler"),
        ({"handler": "a.main()"}, "handler"),
        ({"handler": "a.b\0"}, "handler"),
        ({"handler": "a." + "b" * 127}, "handler"),
        ({"code": ""}, "code"),
        ({"code": "x" * (LIMIT + 1)}, "code"),
        ({"code": "€" * (LIMIT // 3) + "abc"}, "code"),  # counted in bytes
        ({"code": "a\0"}, "code"),
        ({"code": 5}, "code"),
        ({"code": {"a": 1}}, "code"),
        ({"memory_mb": 127}, "memory_mb"),
        ({"memory_mb": 3073}, "memory_mb"),
        ({"memory_mb": "many"}, "memory_mb"),
        ({"memory_mb": True}, "memory_mb"),
        ({"memory_mb": 256.5}, "memory_mb"),
        ({"memory_mb": float("inf")}, "memory_mb"),
        ({"memory_mb": "9" * 2000}, "memory_mb"),
        ({"memory_mb": []}, "memory_mb"),
        ({"memory_mb": None}, "memory_mb"),
        ({"timeout_sec": 0}, "timeout_sec"),
        ({"timeout_sec": 301}, "timeout_sec"),
        ({"max_concurrency": -1}, "max_concurrency"),
        ({"max_retries": 11}, "max_retries"),
        ({"max_event_age_sec": 59}, "max_event_age_sec"),
        ({"env_vars": []}, "env_vars"),
        ({"env_vars": "A=1"}, "env_vars"),
        ({"env_vars": None}, "env_vars"),
        ({"env_vars": {"A": 1}}, "env_vars.A"),
        ({"env_vars": {"A": None}}, "env_vars.A"),
        ({"env_vars": {"A": {"B": "c"}}}, "env_vars.A"),
        ({"env_vars": {"A": "\0"}}, "env_vars.A"),
        ({"env_vars": {"1A": "x"}}, "env_vars"),
        ({"env_vars": {"A-B": "x"}}, "env_vars"),
        ({"env_vars": {"A\n": "x"}}, "env_vars"),
        ({"env_vars": {"": "x"}}, "env_vars"),
        ({"env_vars": {"Ä": "x"}}, "env_vars"),
        ({"env_vars": {"NIMBUS_X": "x"}}, "env_vars"),
        ({"env_vars": {"nimbus_x": "x"}}, "env_vars"),
        ({"env_vars": {"A": "x" * MAX_ENV_BYTES}}, "env_vars"),
        ({"env_vars": {"A": "€" * 1366}}, "env_vars"),
        ({"tags": "a,b"}, "tags"),
        ({"tags": {"a": 1}}, "tags"),
        ({"tags": ["a"] * 51}, "tags"),
        ({"tags": ["a", 1]}, "tags.1"),
        ({"tags": [""]}, "tags.0"),
        ({"tags": ["a,b"]}, "tags.0"),
        ({"tags": ["x" * 65]}, "tags.0"),
        ({"tags": ["a\0"]}, "tags.0"),
        ({"network": "all"}, "network"),
        ({"network": ["none"]}, "network"),
        ({"pinned": "perhaps"}, "pinned"),
        ({"pinned": None}, "pinned"),
        ({"pinned": {}}, "pinned"),
        ({"description": "x" * 4097}, "description"),
        ({"description": 1}, "description"),
        ({"colour": "red"}, "colour"),
        ({"Name": "hello"}, "Name"),
        ({"x" * 500: 1}, "x" * 64),  # the answer does not repeat all of it
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_is_refused_and_under_which_name(changes: dict[str, Any], field: str) -> None:
    found = errors_of(changes)
    assert list(found) == [field]
    assert all(message and isinstance(message, str) for message in found[field])


@pytest.mark.parametrize("name", ["a\n", "a\r\n", " a", "a "])
def test_a_name_is_not_trimmed_into_shape(name: str) -> None:
    assert list(errors_of({"name": name})) == ["name"]


@pytest.mark.parametrize("handler", ["a.main\n", " a.main"])
def test_a_handler_is_not_trimmed_into_shape(handler: str) -> None:
    assert list(errors_of({"handler": handler})) == ["handler"]


@pytest.mark.parametrize("data", [[], "x", 1, None, True, [GOOD]])
@pytest.mark.parametrize("kind", [FunctionCreateSerializer, FunctionUpdateSerializer])
def test_a_body_that_is_no_object(kind: type[Any], data: Any) -> None:
    serializer = kind(data=data)
    assert not serializer.is_valid()
    assert list(flatten(serializer.errors)) == ["body"]


@pytest.mark.parametrize("missing", sorted(set(GOOD) - {"code"}))
def test_what_must_be_there_to_create(missing: str) -> None:
    serializer = FunctionCreateSerializer(data={key: value for key, value in GOOD.items() if key != missing})
    assert not serializer.is_valid()
    assert list(flatten(serializer.errors)) == [missing]


def test_an_update_may_say_nothing() -> None:
    serializer = FunctionUpdateSerializer(data={})
    assert serializer.is_valid()
    assert serializer.validated_data == {}
