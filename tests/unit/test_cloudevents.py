"""CloudEvents 1.0.2: what the HTTP binding, the JSON format and the core demand, each with an example.

The other end is the SDK from PyPI where it can be: what a conforming sender makes of an event must come back as it was.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from hypothesis import given
from hypothesis import strategies as st

from triggers import cloudevents
from triggers.cloudevents import InvalidEvent, UnsupportedFormat, decode

EVENT: dict[str, Any] = {"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext", "id": "A234"}
CE = {"ce-specversion": "1.0", "ce-type": "com.example.someevent", "ce-source": "/mycontext", "ce-id": "A234"}
STRUCTURED = {"Content-Type": "application/cloudevents+json; charset=UTF-8"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


def read(headers: dict[str, str] | list[tuple[str, str]], body: Any = b"") -> list[dict[str, Any]]:
    """A message as it comes off the wire; a body that is no bytes is sent as JSON."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return [dict(event.document) for event in decode([(n.encode(), v.encode("latin-1")) for n, v in pairs], raw)]


@dataclass(frozen=True)
class Must:
    """One demand. `gives`: the events that must be read; `refused`: the field that must be complained of."""

    where: str
    says: str
    headers: dict[str, str] | list[tuple[str, str]]
    body: Any = b""
    gives: list[dict[str, Any]] = field(default_factory=list)
    refused: str | type[UnsupportedFormat] = ""


MUSTS = [
    Must(
        "HTTP 1.4", "all that support the structured mode MUST support the JSON event format",
        STRUCTURED, EVENT | {"data": {"a": 1}}, [EVENT | {"data": {"a": 1}}],
    ),
    Must(
        "HTTP 3", "Content-Type application/cloudevents: structured, whatever ce- headers say",
        STRUCTURED | {"ce-id": "other"}, EVENT, [EVENT],
    ),
    Must(
        "HTTP 3", "the media type is matched whatever its case",
        {"content-type": "Application/CloudEvents+JSON"}, EVENT, [EVENT],
    ),
    Must("HTTP 3", "Content-Type application/cloudevents-batch: batched", BATCH, [EVENT], [EVENT]),
    Must("HTTP 3", "otherwise: binary", CE | {"Content-Type": "text/plain"}, b"hi",
         [EVENT | {"datacontenttype": "text/plain", "data": "hi"}]),
    Must("HTTP 3", "a format that it cannot handle", {"Content-Type": "application/cloudevents+avro"}, b"x",
         refused=UnsupportedFormat),
    Must(
        "HTTP 3.1.1", "Content-Type MUST be written to datacontenttype",
        CE | {"Content-Type": "application/json; charset=utf-8"}, b"{}",
        [EVENT | {"datacontenttype": "application/json; charset=utf-8", "data": {}}],
    ),
    Must(
        "HTTP 3.1.1", "also when there is no data",
        CE | {"Content-Type": "application/json"}, b"", [EVENT | {"datacontenttype": "application/json"}],
    ),
    Must(
        "HTTP 3.1.1", "ce-datacontenttype MUST NOT also be present",
        CE | {"Content-Type": "application/json", "ce-datacontenttype": "application/json"}, b"{}",
        refused="ce-datacontenttype",
    ),
    Must(
        "HTTP 3.1.2", "the data byte-sequence is the body",
        CE | {"Content-Type": "application/octet-stream"}, b"\x00\xff",
        [EVENT | {"datacontenttype": "application/octet-stream", "data_base64": "AP8="}],
    ),
    Must(
        "HTTP 3.1.3", "all other attributes, extensions too, MUST be mapped from distinct headers",
        CE | {"ce-subject": "s", "ce-comexampleothervalue": "5", "ce-time": "2018-04-05T03:56:24Z"}, b"",
        [EVENT | {"subject": "s", "comexampleothervalue": "5", "time": "2018-04-05T03:56:24Z"}],
    ),
    Must("HTTP 3.1.3", "distinct: not twice", [*CE.items(), ("ce-id", "B")], refused="ce-id"),
    Must(
        "HTTP 3.1.3.1", "names of headers are case-insensitive",
        {name.upper(): value for name, value in CE.items()}, b"", [EVENT],
    ),
    Must(
        "HTTP 3.1.3.1", "the header's name is ce- and the attribute's: what none can have is refused",
        CE | {"ce-not-a-name": "x"}, refused="ce-not-a-name",
    ),
    Must(
        "HTTP 3.1.3.2", "the example: a header value percent-encoded",
        CE | {"ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80"}, b"", [EVENT | {"subject": "Euro € 😀"}],
    ),
    Must(
        "HTTP 3.1.3.2", "decoding MUST accept lower-case values",
        CE | {"ce-subject": "%e2%82%ac"}, b"", [EVENT | {"subject": "€"}],
    ),
    Must(
        "HTTP 3.1.3.2", "unnecessarily percent-encoded values MUST be accepted",
        CE | {"ce-subject": "%41%62c"}, b"", [EVENT | {"subject": "Abc"}],
    ),
    Must(
        "HTTP 3.1.3.2", "a single round of decoding",
        CE | {"ce-subject": "%2541"}, b"", [EVENT | {"subject": "%41"}],
    ),
    Must(
        "HTTP 3.1.3.2", "invalid UTF-8 MUST be rejected: overlong",
        CE | {"ce-subject": "%C0%A0"}, refused="ce-subject",
    ),
    Must("HTTP 3.1.3.2", "… a surrogate", CE | {"ce-subject": "%ED%A0%80"}, refused="ce-subject"),
    Must("HTTP 3.1.3.2", "… an end in the middle", CE | {"ce-subject": "%E2%82"}, refused="ce-subject"),
    Must("HTTP 3.1.3.2", "headers MUST only use printable ASCII", CE | {"ce-subject": "caf\xe9"}, refused="ce-subject"),
    Must("HTTP 3.1.3.2", "a percent sign that begins no escape", CE | {"ce-subject": "100%"}, refused="ce-subject"),
    Must(
        "HTTP 3.1.3.2", "quoted strings MUST be unescaped first",
        CE | {"ce-subject": r'"a \"b\" \\ c"'}, b"", [EVENT | {"subject": 'a "b" \\ c'}],
    ),
    Must(
        "HTTP 3.1.3.2", "… and percent-decoded then",
        CE | {"ce-subject": '"%41 b"'}, b"", [EVENT | {"subject": "A b"}],
    ),
    Must(
        "HTTP 3.1.3.2", "no comments: parentheses are characters",
        CE | {"ce-subject": "a(b)"}, b"", [EVENT | {"subject": "a(b)"}],
    ),
    Must("HTTP 3.1.3.2", "a quote that does not end", CE | {"ce-subject": '"a'}, refused="ce-subject"),
    Must(
        "HTTP 3.1.3.2", "optional whitespace around a value",
        CE | {"ce-subject": " \ta b "}, b"", [EVENT | {"subject": "a b"}],
    ),
    Must(
        "HTTP 3.2.3", "all attributes MUST be in the payload, even if they are in headers",
        STRUCTURED | CE, {"specversion": "1.0", "type": "t", "source": "/s"}, refused="id",
    ),
    Must("HTTP 3.3", "the JSON batch format MUST be supported", BATCH, [EVENT, EVENT | {"id": "B"}],
         [EVENT, EVENT | {"id": "B"}]),
    Must("HTTP 3.3.2", "the batch MAY be empty", BATCH, [], []),
    Must(
        "HTTP 3.3.2", "all in a batch MUST have the same specversion",
        BATCH, [EVENT, EVENT | {"specversion": "0.3"}], refused="1.specversion",
    ),
    Must("HTTP 3.3.2", "a batch is an array", BATCH, EVENT, refused="body"),
    # -- the JSON format
    Must("JSON 2.2", "null MUST be treated as unset", STRUCTURED, EVENT | {"subject": None, "ext": None}, [EVENT]),
    Must("JSON 2.2", "null for a required one too", STRUCTURED, EVENT | {"id": None}, refused="id"),
    Must(
        "JSON 2.2", "booleans, integers, strings",
        STRUCTURED, EVENT | {"a": True, "b": -2147483648, "c": "x"},
        [EVENT | {"a": True, "b": -2147483648, "c": "x"}],
    ),
    Must("JSON 2.2", "only the integer component of a number", STRUCTURED, EVENT | {"b": 1.5}, refused="b"),
    Must("JSON 2.2", "no objects: extensions are at the top", STRUCTURED, EVENT | {"b": {"c": 1}}, refused="b"),
    Must(
        "JSON 3.1.1", "binary data under data_base64",
        STRUCTURED, EVENT | {"data_base64": "AP8="}, [EVENT | {"data_base64": "AP8="}],
    ),
    Must("JSON 3.1.1", "data and data_base64 exclude each other", STRUCTURED,
         EVENT | {"data": 1, "data_base64": "AA=="}, refused="data_base64"),
    Must("JSON 3.1.2", "data_base64 MUST be decoded", STRUCTURED, EVENT | {"data_base64": "A$P8"},
         refused="data_base64"),
    Must("JSON 3.1.1", "data MAY be null, which is not no data", STRUCTURED, EVENT | {"data": None},
         [EVENT | {"data": None}]),
    Must("JSON 3.1.2", "a string MUST NOT be deserialized further", STRUCTURED, EVENT | {"data": '{"a":1}'},
         [EVENT | {"data": '{"a":1}'}]),
    Must(
        "JSON 3.1.2", "text when datacontenttype is not JSON",
        STRUCTURED, EVENT | {"datacontenttype": "text/xml", "data": '<much wow="xml"/>'},
        [EVENT | {"datacontenttype": "text/xml", "data": '<much wow="xml"/>'}],
    ),
    Must("JSON 3.1.2", "… and nothing else", STRUCTURED, EVENT | {"datacontenttype": "text/xml", "data": {"a": 1}},
         refused="data"),
    Must("JSON 3.2", "data that is not the JSON it is said to be", CE | {"Content-Type": "application/json"},
         b"I'm just a string", refused="body"),
    # -- the core
    *(Must("core", f"{name} is REQUIRED", STRUCTURED, {k: v for k, v in EVENT.items() if k != name}, refused=name)
      for name in cloudevents.REQUIRED),
    *(Must("core", f"{name} MUST NOT be empty", STRUCTURED, EVENT | {name: ""}, refused=name)
      for name in ("id", "source", "type", "subject", "dataschema")),
    *(Must("core", f"{name} is a string", STRUCTURED, EVENT | {name: 5}, refused=name)
      for name in (*cloudevents.REQUIRED, *cloudevents.OPTIONAL)),
    Must("core", "source: a URI-reference", STRUCTURED, EVENT | {"source": "not a uri"}, refused="source"),
    *(Must("core", "source: the examples", STRUCTURED, EVENT | {"source": one}, [EVENT | {"source": one}])
      for one in ("https://github.com/cloudevents", "mailto:cncf-wg-serverless@lists.cncf.io",
                  "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66", "/sensors/tn-1234567/alerts", "1-555-123-4567")),
    Must("core", "dataschema: absolute", STRUCTURED, EVENT | {"dataschema": "/relative"}, refused="dataschema"),
    Must("core", "datacontenttype: RFC 2046", STRUCTURED, EVENT | {"datacontenttype": "json"},
         refused="datacontenttype"),
    *(Must("core", "time: RFC 3339", STRUCTURED, EVENT | {"time": one}, refused="time")
      for one in ("yesterday", "2018-04-05", "2018-04-05T17:31:00", "2018-02-30T00:00:00Z", "2018-04-05T24:00:00Z",
                  "2018-04-05T17:31:61Z", "2018-04-05T17:31:00+25:00")),
    *(Must("core", "time: RFC 3339", STRUCTURED, EVENT | {"time": one}, [EVENT | {"time": one}])
      for one in ("2018-04-05T17:31:00Z", "2018-04-05t17:31:00.123456789z", "2016-12-31T23:59:60Z",
                  "2018-04-05T17:31:00-07:00")),
    *(Must("core", "names: lower-case letters and digits", STRUCTURED, EVENT | {name: "x"}, refused=name)
      for name in ("Upper", "under_score", "dash-ed", "ümlaut", "")),
    Must("core", "no attribute is called data", CE | {"ce-data": "x"}, refused="ce-data"),
    *(Must("core", f"{why} are disallowed", CE | {"ce-subject": text}, refused="ce-subject")
      for why, text in (("control characters", "a%0Ab"), ("NULs", "%00"), ("C1 controls", "%C2%85"),
                        ("noncharacters", "%EF%BF%BF"), ("noncharacters", "%EF%B7%90"),
                        ("noncharacters", "%F4%8F%BF%BE"))),
    Must("core", "integers: 32 bits", STRUCTURED, EVENT | {"b": 2147483648}, refused="b"),
    Must("core", "an event of 64 KiB MUST be taken", STRUCTURED, EVENT | {"subject": "s" * 65_000},
         [EVENT | {"subject": "s" * 65_000}]),
]  # fmt: skip


@pytest.mark.parametrize("must", MUSTS, ids=lambda must: f"{must.where}: {must.says}")
def test_it_does_what_it_must(must: Must) -> None:
    if isinstance(must.refused, type):
        with pytest.raises(must.refused):
            read(must.headers, must.body)
    elif must.refused or (must.refused == "" and not must.gives and must.body != []):
        with pytest.raises(InvalidEvent) as caught:
            read(must.headers, must.body)
        assert must.refused in caught.value.problems
    else:
        assert read(must.headers, must.body) == must.gives


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InvalidEvent) as caught:
        read({"Content-Type": "application/json", "ce-type": ""}, b"{}")
    assert set(caught.value.problems) == {"ce-id", "ce-source", "ce-specversion", "ce-type"}
    with pytest.raises(InvalidEvent) as caught:
        read(BATCH, [EVENT, {}, 5])
    assert set(caught.value.problems) == {"1.id", "1.source", "1.specversion", "1.type", "2.body"}


@pytest.mark.parametrize("body", [b"", b"{", b'"x"', b"5", b"[]", b"null", b"\xff", b'{"id": NaN}'])
def test_bodies_that_are_no_event(body: bytes) -> None:
    with pytest.raises(InvalidEvent) as caught:
        read(STRUCTURED, body)
    assert "body" in caught.value.problems


def test_too_many_attributes_and_too_deep_payloads() -> None:
    with pytest.raises(InvalidEvent) as caught:
        read(STRUCTURED, EVENT | {f"a{number}": "x" * 1000 for number in range(70)})
    assert "64 KiB" in caught.value.problems["body"][0]
    for depth, good in ((cloudevents.MAX_DEPTH, True), (cloudevents.MAX_DEPTH + 1, False), (1000, False)):
        body = orjson.dumps(EVENT)[:-1] + b',"data":' + b"[" * depth + b"]" * depth + b"}"
        if good:
            assert read(STRUCTURED, body)
            continue
        with pytest.raises(InvalidEvent) as caught:
            read(STRUCTURED, body)
        assert "deeper" in caught.value.problems["data"][0]


@pytest.mark.parametrize("charset", ["utf-16", "punycode", "unicode_escape", "zip", "nonsense"])
def test_odd_charsets_are_kept_as_bytes(charset: str) -> None:
    (event,) = read(CE | {"Content-Type": f"text/plain; charset={charset}"}, b"a-b")
    assert event["data_base64"] == base64.b64encode(b"a-b").decode()
    with pytest.raises(UnsupportedFormat):
        read({"Content-Type": f"application/cloudevents+json; charset={charset}"}, EVENT)


# -- the SDK as the sender

allowed = st.characters(exclude_categories=("Cs", "Cc", "Cn"))
text = st.text(allowed, min_size=1, max_size=30)
extensions = st.dictionaries(
    st.from_regex(r"\Ax[a-z0-9]{1,10}\Z"), text | st.booleans() | st.integers(-(2**31), 2**31 - 1), max_size=3
)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


@given(subject=text, more=extensions, data=st.dictionaries(text, json_value, max_size=3))
def test_what_the_sdk_sends_comes_back(subject: str, more: dict[str, Any], data: dict[str, Any]) -> None:
    attributes = EVENT | {"subject": subject, "datacontenttype": "application/json"} | more
    event = SdkEvent(dict(attributes), data)
    document = attributes | {"data": data}
    for message, strings in ((to_structured(event, JSONFormat()), False), (to_binary(event, JSONFormat()), True)):
        (got,) = read(message.headers, message.body)
        got.pop("time")
        # In a header everything is a string: the canonical one of its type, as Python's SDK writes it.
        assert got == {k: str(v) if strings and k in more else v for k, v in document.items()}


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_an_event_or_a_refusal(value: bytes, body: bytes) -> None:
    headers = [(name.encode(), v.encode()) for name, v in CE.items()]
    for more in ([(b"ce-subject", value)], [(b"content-type", value)], [(b"ce-" + value, b"x")]):
        try:
            (event,) = decode(headers + more, body)
        except (InvalidEvent, UnsupportedFormat):
            continue
        assert orjson.loads(event.json) == event.document
