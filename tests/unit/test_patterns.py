"""Event patterns: Amazon's published examples as vectors, every operator, arrays, what is refused and where, and what a
hostile pattern or event costs."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers import patterns
from triggers.patterns import PatternError, TooCostly, compile_pattern

# The sample events of the EventBridge User Guide and of the README of aws/event-ruler.
EC2: dict[str, Any] = {
    "version": "0",
    "id": "ddddd4-aaaa-7777-4444-345dd43cc333",
    "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2",
    "account": "012345679012",
    "time": "2017-10-02T16:24:49Z",
    "region": "us-east-1",
    "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"],
    "detail": {
        "c-count": 5,
        "d-count": 3,
        "x-limit": 301.8,
        "source-ip": "10.0.0.33",
        "instance-id": "i-000000aaaaaa00000",
        "state": "running",
    },
}
TERMINATED = {
    "version": "0",
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2",
    "account": "111122223333",
    "time": "2017-12-22T18:43:48Z",
    "region": "us-west-1",
    "resources": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],
    "detail": {"instance-id": "i-1234567890abcdef0", "state": "terminated"},
}
AUTOSCALING = {
    "version": "0",
    "detail-type": "EC2 Instance Launch Successful",
    "source": "aws.autoscaling",
    "resources": [],
    "detail": {"eventVersion": "", "responseElements": None},
}
NO_COUNT = {
    "detail-type": ["EC2 Instance State-change Notification"],
    "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-02ebd4584a2ebd341"],
    "detail": {"state": ["initializing", "running"]},
}
COUNT_IS_NO_LEAF = NO_COUNT | {"detail": {"state": ["initializing", "running"], "c-count": {"c1": 100}}}
TWO_RESOURCES = {
    "resources": [
        "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:eb56d16b:autoScalingGroupName/ASGTerminate",
        "arn:aws:ec2:us-east-1:123456789012:instance/i-b188560f",
    ]
}
EMPLOYEES = {
    "employees": [
        {"firstName": "John", "lastName": "Doe"},
        {"firstName": "Anna", "lastName": "Smith"},
        {"firstName": "Peter", "lastName": "Jones"},
    ]
}
EMPLOYEES_BY_ROOM = {"employees": [EMPLOYEES["employees"][:2], EMPLOYEES["employees"][2:]]}
METRIC = {"source": "aws.cloudwatch", "metricType": "MetricType", "namespace": "AWS/EC2", "spaceId": 1000}
OR_IN_AND = {
    "source": ["aws.cloudwatch"],
    "$or": [
        {"metricName": ["CPUUtilization", "ReadLatency"]},
        {"metricType": ["MetricType"], "namespace": ["AWS/EC2", "AWS/ES"]},
        {"scope": ["Service"]},
    ],
}
NESTED_OR = {
    "source": ["aws.cloudwatch"],
    "$or": [
        {"metricName": ["CPUUtilization", "ReadLatency"]},
        {
            "metricType": ["MetricType"],
            "namespace": ["AWS/EC2", "AWS/ES"],
            "$or": [{"metricId": [1234]}, {"spaceId": [1000]}],
        },
        {"scope": ["Service"]},
    ],
}

AMAZONS: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"source": ["aws.ec2"]}, TERMINATED, True),
    ({"detail": {"state": ["terminated"]}}, TERMINATED, True),
    (
        {
            "source": ["aws.ec2"],
            "detail-type": ["EC2 Instance State-change Notification"],
            "detail": {"state": ["terminated"]},
        },
        TERMINATED,
        True,
    ),
    ({"source": ["aws.ec2"], "detail": {"state": ["pending"]}}, TERMINATED, False),
    (
        {
            "detail-type": ["EC2 Instance State-change Notification"],
            "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"],
            "detail": {"state": ["initializing", "running"]},
        },
        EC2,
        True,
    ),
    ({"time": [{"prefix": "2017-10-02"}]}, EC2, True),
    ({"time": [{"prefix": "2017-10-02"}]}, TERMINATED, False),
    ({"source": [{"suffix": "ec2"}]}, EC2, True),
    ({"source": [{"equals-ignore-case": "AWS.EC2"}]}, EC2, True),
    ({"source": [{"equals-ignore-case": "EC2"}]}, EC2, False),
    ({"source": [{"wildcard": "Simple*Service"}]}, {"source": "SimpleQueueService"}, True),
    ({"source": [{"wildcard": "Simple*Service"}]}, {"source": "SimpleQueueServices"}, False),
    ({"detail": {"state": [{"anything-but": "initializing"}]}}, EC2, True),
    ({"detail": {"state": [{"anything-but": "running"}]}}, EC2, False),
    ({"detail": {"x-limit": [{"anything-but": 123}]}}, EC2, True),
    ({"detail": {"x-limit": [{"anything-but": 301.8}]}}, EC2, False),
    ({"detail": {"state": [{"anything-but": ["stopped", "overloaded"]}]}}, EC2, True),
    ({"detail": {"state": [{"anything-but": ["stopped", "running"]}]}}, EC2, False),
    ({"detail": {"x-limit": [{"anything-but": [100, 200, 300]}]}}, EC2, True),
    ({"detail": {"state": [{"anything-but": {"prefix": "init"}}]}}, EC2, True),
    ({"detail": {"state": [{"anything-but": {"prefix": "run"}}]}}, EC2, False),
    (
        {
            "detail": {
                "c-count": [{"numeric": [">", 0, "<=", 5]}],
                "d-count": [{"numeric": ["<", 10]}],
                "x-limit": [{"numeric": ["=", 3.018e2]}],
            }
        },
        EC2,
        True,
    ),
    ({"detail": {"c-count": [{"numeric": [">", 0, "<", 5]}]}}, EC2, False),
    ({"detail": {"source-ip": [{"cidr": "10.0.0.0/24"}]}}, EC2, True),
    ({"detail": {"source-ip": [{"cidr": "10.0.1.0/24"}]}}, EC2, False),
    ({"detail": {"c-count": [{"exists": True}]}}, EC2, True),
    ({"detail": {"c-count": [{"exists": False}]}}, EC2, False),
    ({"detail": {"c-count": [{"exists": False}]}}, NO_COUNT, True),
    ({"detail": {"c-count": [{"exists": False}]}}, COUNT_IS_NO_LEAF, True),
    ({"detail": {"c-count": [{"exists": True}]}}, COUNT_IS_NO_LEAF, False),
    ({"detail": {"eventVersion": [""]}}, AUTOSCALING, True),
    ({"detail": {"responseElements": [None]}}, AUTOSCALING, True),
    ({"detail": {"responseElements": [""]}}, AUTOSCALING, False),
    ({"detail": {"eventVersion": [None]}}, AUTOSCALING, False),
    (
        {
            "time": [{"prefix": "2017-10-02"}],
            "detail": {
                "state": [{"anything-but": "initializing"}],
                "c-count": [{"numeric": [">", 0, "<=", 5]}],
                "d-count": [{"numeric": ["<", 10]}],
                "x-limit": [{"anything-but": [100, 200, 300]}],
                "source-ip": [{"cidr": "10.0.0.0/8"}],
            },
        },
        EC2,
        True,
    ),
    (
        {
            "resources": [
                "arn:aws:ec2:us-east-1:123456789012:instance/i-b188560f",
                "arn:aws:ec2:us-east-1:111122223333:instance/i-b188560f",
            ]
        },
        TWO_RESOURCES,
        True,
    ),
    ({"resources": ["arn:aws:ec2:us-east-1:111122223333:instance/i-b188560f"]}, TWO_RESOURCES, False),
    ({"employees": {"firstName": ["Anna"]}}, EMPLOYEES, True),
    ({"employees": {"firstName": ["Anna"]}}, EMPLOYEES_BY_ROOM, True),
    ({"employees": {"firstName": ["Anna"], "lastName": ["Smith"]}}, EMPLOYEES_BY_ROOM, True),
    ({"employees": {"firstName": ["Anna"], "lastName": ["Jones"]}}, EMPLOYEES, False),
    ({"employees": {"firstName": ["Anna"], "lastName": ["Jones"]}}, EMPLOYEES_BY_ROOM, False),
    (OR_IN_AND, METRIC, True),
    (OR_IN_AND, METRIC | {"namespace": "AWS/S3"}, False),
    (OR_IN_AND, METRIC | {"namespace": "AWS/S3", "scope": "Service"}, True),
    (OR_IN_AND, METRIC | {"source": "aws.ec2"}, False),
    (NESTED_OR, METRIC, True),
    (NESTED_OR, METRIC | {"spaceId": 1001}, False),
    (NESTED_OR, METRIC | {"spaceId": 1001, "metricName": "ReadLatency"}, True),
    # The table of comparison operators of the User Guide.
    ({"Location": ["New York"], "Day": ["Monday"]}, {"Location": "New York", "Day": "Monday"}, True),
    ({"Region": [{"anything-but": {"prefix": "us-"}}]}, {"Region": "eu-west-1"}, True),
    ({"FileName": [{"anything-but": {"suffix": ".png"}}]}, {"FileName": "a.jpg"}, True),
    ({"FileName": [{"anything-but": {"suffix": ".png"}}]}, {"FileName": "a.png"}, False),
    ({"state": [{"anything-but": {"equals-ignore-case": "initializing"}}]}, {"state": "INITIALIZING"}, False),
    ({"state": [{"anything-but": {"equals-ignore-case": ["initializing", "stopped"]}}]}, {"state": "Stopped"}, False),
    ({"FilePath": [{"anything-but": {"wildcard": "*/lib/*"}}]}, {"FilePath": "/usr/lib/x"}, False),
    ({"FilePath": [{"anything-but": {"wildcard": ["*/lib/*", "*/bin/*"]}}]}, {"FilePath": "/usr/share/x"}, True),
    ({"FilePath": [{"anything-but": {"wildcard": ["*/lib/*", "*/bin/*"]}}]}, {"FilePath": "/usr/bin/x"}, False),
    ({"service": [{"prefix": {"equals-ignore-case": "EventB"}}]}, {"service": "EVENTBRIDGE"}, True),
    ({"service": [{"suffix": {"equals-ignore-case": "tBridge"}}]}, {"service": "eventbriDGE"}, True),
    ({"Name": [{"equals-ignore-case": "alice"}]}, {"Name": "Alice"}, True),
    ({"ProductName": [{"exists": True}]}, {"ProductName": None}, True),
    ({"Price": [{"numeric": ["=", 100]}]}, {"Price": 100.0}, True),
    ({"Price": [{"numeric": [">", 10, "<=", 20]}]}, {"Price": 20}, True),
    ({"PaymentType": ["Credit", "Debit"]}, {"PaymentType": "Debit"}, True),
    ({"$or": [{"Location": ["New York"]}, {"Day": ["Monday"]}]}, {"Day": "Monday"}, True),
    ({"FileName": [{"wildcard": "dir/*.png"}]}, {"FileName": "dir/sub/a.png"}, True),
]


@pytest.mark.parametrize(("pattern", "event", "fits"), AMAZONS)
def test_amazons_examples(pattern: dict[str, Any], event: dict[str, Any], fits: bool) -> None:
    compiled = compile_pattern(pattern)
    assert compiled.matches(event) is fits
    assert (compiled.explain(event) == []) is fits


def fits(leaf: list[Any], value: Any) -> bool:
    return compile_pattern({"a": leaf}).matches({"a": value})


@pytest.mark.parametrize(
    ("leaf", "yes", "no"),
    [
        ([1], [1, 1.0, [5, 1], [[1]]], [True, "1", None, 2, [], {}, {"a": 1}, [{"a": 1}]]),
        ([1.0], [1, 1.0], [True, 1.5]),
        ([True], [True, [False, True]], [1, "true", False]),
        ([False], [False], [0, None, ""]),
        ([None], [None, [None]], [0, "", False, [], "null"]),
        ([""], ["", [""]], [None, " "]),
        ([{"prefix": "ab"}], ["ab", "abc"], ["xab", "Ab", 5, None, ""]),
        ([{"suffix": "ab"}], ["ab", "cab"], ["abx", 5]),
        ([{"equals-ignore-case": "straße"}], ["STRASSE", "Straße"], ["strasse!", 5]),
        ([{"wildcard": "*"}], ["", "a"], [5, None]),
        ([{"wildcard": "a*b"}], ["ab", "a*b", "aXXb", "abab"], ["a", "b", "ba", "abx"]),
        ([{"wildcard": "a*a"}], ["aa", "aba"], ["a"]),
        ([{"wildcard": "*ab*ab*"}], ["abab", "xabyabz"], ["ab", "xab"]),
        ([{"wildcard": r"a\*b"}], ["a*b"], ["ab", "axb"]),
        ([{"wildcard": r"a\\*b"}], ["a\\b", "a\\xb"], ["a*b"]),
        ([{"wildcard": "abc"}], ["abc"], ["abcd"]),
        ([{"numeric": ["=", 0]}], [0, -0.0, 0.0], ["0", False, None]),
        ([{"numeric": [">=", -1, "<=", -1]}], [-1], [-1.01, 0]),
        ([{"numeric": [">", 2**63]}], [2**63 + 1, 1e300], [2**63, 0]),
        ([{"cidr": "10.0.0.0/8"}], ["10.1.2.3"], ["11.0.0.1", "10", "x", 10, "::1", "10.0.0.0/8"]),
        ([{"cidr": "2001:db8::/32"}], ["2001:db8::1"], ["2001:db9::1", "10.0.0.1"]),
        ([{"cidr": "10.0.0.77/24"}], ["10.0.0.1"], ["10.0.1.1"]),
        ([{"anything-but": "x"}], ["y", 5, None, True, ["x", "y"]], ["x", ["x", "x"], [], {}]),
        ([{"anything-but": [1, 2]}], [3, "1", True], [1, 1.0, 2]),
        ([{"exists": True}], [None, 0, "", [0]], [[], {}, [{}]]),
        ([{"exists": False}], [[], {}, [{}]], [None, 0, "", [0]]),
        ([{"exists": False}, "x"], ["x", []], ["y"]),
        (["a", {"prefix": "b"}, {"numeric": [">", 5]}], ["a", "bc", 6], ["c", 5]),
    ],
)
def test_leaves(leaf: list[Any], yes: list[Any], no: list[Any]) -> None:
    assert [value for value in yes if not fits(leaf, value)] == []
    assert [value for value in no if fits(leaf, value)] == []


def test_what_is_not_there() -> None:
    for event in ({}, {"a": None}, {"a": 5}, {"a": []}, {"a": {}}, {"a": {"c": 1}}):
        assert compile_pattern({"a": {"b": [{"exists": False}]}}).matches(event)
        assert not compile_pattern({"a": {"b": [{"exists": True}]}}).matches(event)
        assert not compile_pattern({"a": {"b": [{"anything-but": "x"}]}}).matches(event)
        assert not compile_pattern({"a": {"b": [None]}}).matches(event)


def test_or_beside_other_fields_of_nested_objects() -> None:
    pattern = compile_pattern({"data": {"a": [1], "$or": [{"b": [1]}, {"c": {"d": [1]}}]}})
    assert pattern.matches({"data": {"a": 1, "c": {"d": 1}}})
    assert not pattern.matches({"data": {"a": 2, "b": 1}})
    assert not pattern.matches({"data": [{"a": 1}, {"b": 1}]}), "one object must fit all of it"


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ({}, ""),
        ([], ""),
        (None, ""),
        ("x", ""),
        ({"a": "x"}, "a"),
        ({"a": None}, "a"),
        ({"a": 5}, "a"),
        ({"a": []}, "a"),
        ({"a": {}}, "a"),
        ({"a": {"b": {}}}, "a.b"),
        ({"a": [[1]]}, "a[0]"),
        ({"a": [1, {}]}, "a[1]"),
        ({"a": [{"prefix": "x", "suffix": "y"}]}, "a[0]"),
        ({"a": [{"contains": "x"}]}, "a[0]"),
        ({"a": [{"prefix": ""}]}, "a[0].prefix"),
        ({"a": [{"prefix": 5}]}, "a[0].prefix"),
        ({"a": [{"prefix": {"wildcard": "x"}}]}, "a[0].prefix"),
        ({"a": [{"suffix": {"equals-ignore-case": 5}}]}, "a[0].suffix.equals-ignore-case"),
        ({"a": [{"equals-ignore-case": ["x"]}]}, "a[0].equals-ignore-case"),
        ({"a": [{"wildcard": "a**b"}]}, "a[0].wildcard"),
        ({"a": [{"wildcard": "a\\b"}]}, "a[0].wildcard"),
        ({"a": [{"wildcard": "a\\"}]}, "a[0].wildcard"),
        ({"a": [{"numeric": []}]}, "a[0].numeric"),
        ({"a": [{"numeric": 5}]}, "a[0].numeric"),
        ({"a": [{"numeric": [">"]}]}, "a[0].numeric"),
        ({"a": [{"numeric": ["!=", 5]}]}, "a[0].numeric"),
        ({"a": [{"numeric": [[], 5]}]}, "a[0].numeric"),
        ({"a": [{"numeric": [">", "5"]}]}, "a[0].numeric"),
        ({"a": [{"numeric": [">", True]}]}, "a[0].numeric"),
        ({"a": [{"numeric": ["<", 5, ">", 1]}]}, "a[0].numeric"),
        ({"a": [{"numeric": [">", 5, "<", 5]}]}, "a[0].numeric"),
        ({"a": [{"numeric": [">=", 6, "<=", 5]}]}, "a[0].numeric"),
        ({"a": [{"exists": "yes"}]}, "a[0].exists"),
        ({"a": [{"exists": 1}]}, "a[0].exists"),
        ({"a": [{"cidr": "10.0.0.0/99"}]}, "a[0].cidr"),
        ({"a": [{"cidr": 5}]}, "a[0].cidr"),
        ({"a": [{"anything-but": []}]}, "a[0].anything-but"),
        ({"a": [{"anything-but": ["x", 5]}]}, "a[0].anything-but"),
        ({"a": [{"anything-but": None}]}, "a[0].anything-but"),
        ({"a": [{"anything-but": [True]}]}, "a[0].anything-but"),
        ({"a": [{"anything-but": {"numeric": ["=", 1]}}]}, "a[0].anything-but"),
        ({"a": [{"anything-but": {"prefix": []}}]}, "a[0].anything-but.prefix"),
        ({"a": [{"anything-but": {"exists": True}}]}, "a[0].anything-but"),
        ({"$or": [{"a": [1]}]}, "$or"),
        ({"$or": {"a": [1]}}, "$or"),
        ({"a": {"$or": [{"b": [1]}, {}]}}, "a.$or[1]"),
        ({"a": {"$or": [{"b": [1]}, {"c": [{"prefix": 5}]}]}}, "a.$or[1].c[0].prefix"),
        ({"a": [1], "data": {"b": {"c": [1, {"cidr": "x"}]}}}, "data.b.c[1].cidr"),
    ],
)
def test_what_is_no_pattern_is_refused_by_its_path(pattern: Any, path: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert caught.value.path == path
    assert caught.value.problem.endswith(".") and str(caught.value).startswith(path)


def test_why_not() -> None:
    pattern = compile_pattern(
        {"type": ["order.paid"], "data": {"amount": [{"numeric": [">", 100]}], "items": {"sku": ["a"], "n": [1]}}}
    )
    event = {"type": "order.paid", "data": {"amount": 99, "items": [{"sku": "b", "n": 2}, {"sku": "a", "n": 3}]}}
    amount, number = pattern.explain(event)
    assert (amount.path, amount.wanted, amount.found) == ("data.amount", [{"numeric": [">", 100]}], [99])
    assert (number.path, number.found) == ("data.items.n", [3]), "of the object that comes nearest"
    either = compile_pattern({"data": {"$or": [{"a": [1]}, {"b": [1]}]}})
    assert [one.path for one in either.explain({"data": {}})] == ["data.$or"]
    assert [one.found for one in compile_pattern({"a": ["x"]}).explain({"a": ["é" * 500] * 50})] == [["é" * 200] * 5]


# -- bounds


def test_patterns_are_bounded() -> None:
    deep: Any = [1]
    for _ in range(patterns.MAX_DEPTH):
        deep = {"a": deep}
    compile_pattern(deep)
    with pytest.raises(PatternError, match="deeper"):
        compile_pattern({"a": deep})
    nested: Any = {"a": [1]}
    for _ in range(patterns.MAX_DEPTH):
        nested = {"$or": [nested, {"a": [2]}]}
    with pytest.raises(PatternError, match="deeper"):
        compile_pattern(nested)
    for _ in range(2000):
        deep = {"a": deep}
    with pytest.raises(PatternError):
        compile_pattern(deep)
    with pytest.raises(PatternError, match="bytes long"):
        compile_pattern({"a": ["x" * patterns.MAX_BYTES]})


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        ([{"wildcard": "*a" * 2000 + "*b"}], "a" * 1_000_000),
        ([{"wildcard": "*" + "a" * 5000 + "*" + "a" * 5000 + "b*"}], "a" * 1_000_000),
        ([{"wildcard": f"*{'ab' * n}*c"} for n in range(1, 100)], "ab" * 500_000),
        ([{"suffix": {"equals-ignore-case": "x" * n}} for n in range(1, 140)], "é" * 500_000),
        ([{"anything-but": {"wildcard": ["*a*"] * 500}}, "no"], ["a"] * 500_000),
    ],
)
def test_hostile_patterns_end(leaf: list[Any], value: Any) -> None:
    """Steps are counted; the clock is only to see that a step costs what it is thought to cost, with much to spare."""
    pattern = compile_pattern({"a": leaf})
    began = time.monotonic()
    try:
        pattern.matches({"a": value})
    except TooCostly:
        pass
    assert time.monotonic() - began < 20


def test_an_event_of_very_many_values_is_given_up_on() -> None:
    event = {"a": [[n, str(n)] for n in range(patterns.MAX_STEPS // 2)]}
    assert compile_pattern({"a": ["5"]}).matches(event)
    with pytest.raises(TooCostly):
        compile_pattern({"a": ["x"]}).matches(event)
    with pytest.raises(TooCostly):
        compile_pattern({"a": ["x"]}).explain(event)


def by_definition(parts: list[str], text: str) -> bool:
    """Whether the parts with anything between them make the text, by trying everything."""
    if len(parts) == 1:
        return text == parts[0]
    first, *rest = parts
    tails = [text[n:] for n in range(len(first), len(text) + 1)] if text.startswith(first) else []
    return any(by_definition(rest, tail) for tail in tails)


@given(st.lists(st.text("ab", max_size=3), min_size=1, max_size=4), st.text("ab", max_size=10))
def test_wildcards_mean_what_they_say(parts: list[str], text: str) -> None:
    parts = [parts[0], *(part or "a" for part in parts[1:-1]), *parts[1:][-1:]]
    if "".join(parts) or len(parts) > 1:
        assert fits([{"wildcard": "*".join(parts)}], text) is by_definition(parts, text)


json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "$or", "prefix"]), inner),
    max_leaves=12,
)


@given(json_value, st.dictionaries(st.sampled_from(["a", "b", "$or"]), json_value))
def test_any_json_is_a_pattern_or_refused(pattern: Any, event: dict[str, Any]) -> None:
    try:
        compiled = compile_pattern(pattern)
    except PatternError:
        return
    assert compiled.matches(event) is (compiled.explain(event) == [])
