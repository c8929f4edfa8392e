"""Custom routes: which patterns there may be, when two are the same, and which one a path calls."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.route_patterns import MAX_PATH, MAX_SEGMENTS, parse
from triggers.route_table import Route, RouteTable, allowed, choose


def table(*paths: str, methods: tuple[str, ...] = ("GET", "POST")) -> RouteTable:
    return RouteTable(Route(function_id=path, pattern=parse(path), methods=methods) for path in paths)


def called(routes: RouteTable, path: str, method: str = "GET") -> tuple[str, dict[str, str]] | None:
    match = choose(routes.matches(path), method, path)
    return (match.route.function_id, dict(match.parameters)) if match else None


# -- patterns


@pytest.mark.parametrize(
    "path",
    [
        "/a",
        "/a/b",
        "/A-b_c.~",
        "/users/{id}",
        "/users/{id}/posts/{post}",
        "/files/{path+}",
        "/a,b;c=1",
        "/{x}",
        "/{x+}",
    ],
)
def test_a_pattern(path: str) -> None:
    assert parse(path, {"api"}).segments
    assert parse(path + "/", {"api"}) == parse(path, {"api"})


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "start with /"),
        ("a", "start with /"),
        ("http://x/a", "start with /"),
        ("/", "taken by the platform"),
        ("//", "taken by the platform"),
        ("/api", "taken by the platform"),
        ("/api/x", "taken by the platform"),
        ("/API/x", "taken by the platform"),
        ("//a", "empty segments"),
        ("/a//b", "empty segments"),
        ("/a/../api", "empty segments"),
        ("/./a", "empty segments"),
        ("/a b", "only letters"),
        ("/a%2Fb", "only letters"),
        ("/a?b", "only letters"),
        ("/a#b", "only letters"),
        ("/a\\b", "only letters"),
        ("/a\nb", "only letters"),
        ("/a\0", "only letters"),
        ("/ä", "only letters"),
        ("/{id", "whole segment"),
        ("/id}", "whole segment"),
        ("/{}", "whole segment"),
        ("/{a-b}", "whole segment"),
        ("/{1}", "whole segment"),
        ("/{id}.json", "whole segment"),
        ("/x{id}", "whole segment"),
        ("/{id}\n", "whole segment"),
        ("/{all+}/x", "the last segment"),
        ("/{a}/{a}", "there once"),
        ("/{a}/{a+}", "there once"),
        ("/" + "a" * MAX_PATH, "at most"),
        ("/a" * (MAX_SEGMENTS + 1), "segments"),
    ],
)
def test_what_is_no_pattern(path: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse(path, {"api"})


@given(st.text(max_size=40).map(lambda text: "/" + text))
def test_any_text_is_a_pattern_or_is_told_why_not(path: str) -> None:
    told = []
    try:
        pattern = parse(path)
    except ValueError as error:
        told = list(error.args)
    assert told or pattern.canonical.startswith("/")


def test_names_of_parameters_tell_no_patterns_apart() -> None:
    assert parse("/users/{id}").canonical == parse("/users/{name}/").canonical == "/users/{}"
    assert parse("/f/{a+}").canonical == "/f/{+}" != parse("/f/{a}").canonical
    assert len({parse(p).canonical for p in ("/a", "/A", "/{a}", "/{a+}", "/a/{b}")}) == 5


# -- which one is called


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/users", ("/users", {})),
        ("/users/me", ("/users/me", {})),
        ("/users/7", ("/users/{id}", {"id": "7"})),
        ("/users/7/posts/9", ("/users/{id}/posts/{post}", {"id": "7", "post": "9"})),
        ("/users/me/posts/9", ("/users/{id}/posts/{post}", {"id": "me", "post": "9"})),
        ("/users/7/other", ("/users/{rest+}", {"rest": "7/other"})),
        ("/users/me/posts", ("/users/{rest+}", {"rest": "me/posts"})),
        ("/files/a/b.txt", ("/files/{path+}", {"path": "a/b.txt"})),
        ("/files", None),
        ("/Users", None),
        ("/users//", None),
        ("/users/", None),
        ("/nothing", None),
        ("/", None),
        ("", None),
        ("*", None),
        ("/users/{id}", ("/users/{id}", {"id": "{id}"})),
        ("/users/..", ("/users/{id}", {"id": ".."})),
        ("/users/ä\0", ("/users/{id}", {"id": "ä\0"})),
        ("/files/" + "/".join("a" * 3000), ("/files/{path+}", {"path": "/".join("a" * 3000)})),
    ],
)
def test_the_most_specific_is_called(path: str, expected: Any) -> None:
    patterns = [
        "/users/{rest+}", "/users/{id}/posts/{post}", "/users/{id}", "/users/me", "/users", "/files/{path+}",
    ]  # fmt: skip
    for order in (patterns, patterns[::-1]):
        assert called(table(*order), path) == expected


def test_a_method_that_the_first_has_not_is_looked_for_in_the_others() -> None:
    me = Route(function_id="me", pattern=parse("/users/me"), methods=("GET",))
    one = Route(function_id="one", pattern=parse("/users/{id}"), methods=("GET", "DELETE"))
    routes = RouteTable([one, me])
    assert called(routes, "/users/me") == ("me", {})
    assert called(routes, "/users/me", "DELETE") == ("one", {"id": "me"})
    assert called(routes, "/users/me", "HEAD") == ("me", {})
    assert called(routes, "/users/me", "PUT") is None
    assert allowed(routes.matches("/users/me")) == ("DELETE", "GET", "HEAD", "OPTIONS")


def test_one_address_may_be_shared_by_methods() -> None:
    reads = Route(function_id="reads", pattern=parse("/x/{a}"), methods=("GET",))
    writes = Route(function_id="writes", pattern=parse("/x/{b}"), methods=("POST", "HEAD"))
    routes = RouteTable([reads, writes])
    assert called(routes, "/x/1") == ("reads", {"a": "1"})
    assert called(routes, "/x/1", "POST") == ("writes", {"b": "1"})


def test_all_that_match_are_found() -> None:
    routes = table(*(f"/{'/'.join(bits)}" for bits in _bits(8)))
    found = routes.matches("/" + "/".join("a" * 8))
    assert len(found) == 2**8
    assert found[0].function_id == "/a/a/a/a/a/a/a/a"
    assert found[-1].function_id == "/{p1}/{p2}/{p3}/{p4}/{p5}/{p6}/{p7}/{p8}"


def _bits(count: int) -> list[list[str]]:
    if not count:
        return [[]]
    return [[*rest, one] for rest in _bits(count - 1) for one in ("a", f"{{p{count}}}")]


def test_an_empty_table_matches_nothing() -> None:
    assert RouteTable().matches("/a") == []
