"""The direct lane's frames: however the stream is cut, the same ones come out; and what is none ends it."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimbus_project.core import wire
from nimbus_project.core.wire import Frame, Splitter, WireError, encode

frames = st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=40), st.binary(max_size=200))


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 60), min_size=1, max_size=200))
def test_any_cutting_of_the_stream(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(encode(*frame) for frame in sent)
    splitter = Splitter()
    found: list[Frame] = []
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        found += splitter.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == sent


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(4, 300))
def test_any_cutting_where_some_frames_are_large(sent: list[Frame], cuts: list[int], large: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "LARGE_BYTES", large)
        splitter, found, stream = Splitter(), [], b"".join(encode(*frame) for frame in sent)
        for size in cuts * (len(stream) // sum(cuts) + 1):
            found += splitter.feed(stream[:size])
            stream = stream[size:]
    assert (found, stream) == (sent, b"")


@given(st.lists(frames, min_size=1, max_size=4))
def test_a_frame_comes_with_its_last_byte_and_not_before(sent: list[Frame]) -> None:
    splitter = Splitter()
    for frame in sent:
        data = encode(*frame)
        assert [splitter.feed(data[n : n + 1]) for n in range(len(data) - 1)] == [[]] * (len(data) - 1)
        assert splitter.feed(data[-1:]) == [frame]


@given(st.lists(frames, max_size=4), st.data())
def test_an_end_in_the_middle_gives_the_whole_ones(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode(*frame) for frame in sent)
    cut = data.draw(st.integers(0, len(stream)))
    found = Splitter().feed(stream[:cut])
    assert found == sent[: len(found)]
    assert sum(len(encode(*frame)) for frame in found) <= cut


def test_an_empty_read_is_nothing() -> None:
    splitter = Splitter()
    assert splitter.feed(b"") == []
    assert splitter.feed(encode(1, 2, b"")[:7]) == splitter.feed(b"") == []
    assert splitter.feed(encode(1, 2, b"")[7:]) == [(1, 2, b"", b"")]


def fed_in_pieces(splitter: Splitter, data: bytes, piece: int) -> None:
    for at in range(0, len(data), piece):
        assert splitter.feed(data[at : at + piece]) == []


def prefix(size: int, head_size: int, kind: int = wire.CALL) -> bytes:
    return struct.pack(">IBII", size, kind, 1, head_size)


@pytest.mark.parametrize(
    "data",
    [
        prefix(2**32 - 1, 0),
        prefix(wire.MAX_FRAME_BYTES + 1, 0),
        prefix(0, 0),
        prefix(8, 0),
        prefix(9, 1),
        prefix(9 + 4, 5) + b"12345",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff" * 13,
    ],
)
@pytest.mark.parametrize("piece", [1, 4, 13, 1000])
def test_what_is_no_frame_ends_the_stream(data: bytes, piece: int) -> None:
    splitter = Splitter()
    good = encode(wire.CALL, 7, b"head", b"body")
    assert splitter.feed(good) == [(wire.CALL, 7, b"head", b"body")]
    with pytest.raises(WireError):
        fed_in_pieces(splitter, data, piece)


def test_a_frame_that_only_claims_to_be_large_costs_no_memory() -> None:
    splitter = Splitter()
    tracemalloc.start()
    splitter.feed(prefix(wire.MAX_FRAME_BYTES, 0))
    splitter.feed(b"x" * 1000)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_large_frames_in_small_pieces_are_not_copied_each_time() -> None:
    """1,600 pieces of a frame of 16 MB: were all of it copied for each, that would be 13 GB."""
    body = bytes(16 * 1024 * 1024)
    stream = encode(wire.ANSWER, 1, b"h", body) + encode(wire.BUSY, 2, b"")
    splitter = Splitter()
    found: list[Frame] = []
    tracemalloc.start()
    for at in range(0, len(stream), 10_000):
        found += splitter.feed(stream[at : at + 10_000])
    assert tracemalloc.get_traced_memory()[1] < 6 * len(body)
    tracemalloc.stop()
    assert [(frame[0], frame[1], len(frame[3])) for frame in found] == [(wire.ANSWER, 1, len(body)), (wire.BUSY, 2, 0)]
