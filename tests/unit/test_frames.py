"""The codec of frames: what goes in comes out, and nothing that arrives is believed."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.frames import (
    BUFFER_BYTES,
    MAX_FRAME_BYTES,
    ConnectionEnded,
    Frame,
    FrameError,
    FrameStream,
    Kind,
    decode,
    encode,
)

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
HEADS = st.dictionaries(st.text(), SCALARS | st.lists(SCALARS, max_size=4), max_size=6)
FRAMES = st.builds(Frame, st.sampled_from(Kind), HEADS, st.binary(max_size=400))


def soon() -> float:
    return time.monotonic() + 10


Read = Callable[[FrameStream, float], Frame]


def take(stream: FrameStream, deadline: float) -> Frame:
    """As `receive`, by `take`."""
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLIN)
    while (frame := stream.take()) is None:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
    return frame


READS: dict[str, Read] = {"receive": FrameStream.receive, "take": take}
either_read = pytest.mark.parametrize("read", READS.values(), ids=READS.keys())


def unblocked(sock: socket.socket) -> FrameStream:
    """As the event loop has it."""
    sock.setblocking(False)
    return FrameStream(sock)


@pytest.fixture
def ends() -> Iterator[tuple[FrameStream, socket.socket]]:
    """A stream and the bare socket at its other end."""
    ours, theirs = socket.socketpair()
    stream = unblocked(ours)
    yield stream, theirs
    stream.close()
    theirs.close()


@given(FRAMES)
def test_round_trip(frame: Frame) -> None:
    assert decode(encode(frame.kind, frame.head, frame.body)) == frame


@either_read
@settings(max_examples=50, deadline=None)
@given(frames=st.lists(FRAMES, min_size=1, max_size=8), piece=st.integers(1, 50))
def test_stream_reassembles_any_pieces(read: Read, frames: list[Frame], piece: int) -> None:
    ours, theirs = socket.socketpair()
    stream = unblocked(ours)
    data = b"".join(encode(frame.kind, frame.head, frame.body) for frame in frames)

    def feed() -> None:
        for at in range(0, len(data), piece):
            theirs.sendall(data[at : at + piece])

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert [read(stream, soon()) for _ in frames] == frames
    feeder.join()
    stream.close()
    theirs.close()


@given(FRAMES, st.data())
def test_truncated(frame: Frame, data: st.DataObject) -> None:
    whole = encode(frame.kind, frame.head, frame.body)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(FrameError):
        decode(whole[:cut])


@given(st.binary(max_size=200))
def test_noise_is_a_frame_error_or_a_frame(noise: bytes) -> None:
    try:
        frame = decode(noise)
    except FrameError:
        return
    assert isinstance(frame.head, dict)


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        (struct.pack(">IBI", MAX_FRAME_BYTES + 1, 6, 0), "above the limit"),
        (struct.pack(">IBI", 0xFFFFFFFF, 6, 0), "above the limit"),
        (struct.pack(">IBI", 4, 6, 0), "contradict"),
        (struct.pack(">IBI", 5, 6, 1), "contradict"),
        (struct.pack(">IBI", 20, 6, 0xFFFFFFFF), "contradict"),
        (struct.pack(">IBI", 5, 0, 0), "no frame of type 0"),
        (struct.pack(">IBI", 5, 10, 0), "no frame of type 10"),
        (struct.pack(">IBI", 7, 6, 2) + b"[]", "not a JSON object"),
        (struct.pack(">IBI", 7, 6, 2) + b"{x", "not JSON"),
        (struct.pack(">IBI", 7, 6, 2) + b"\xff\xfe", "not JSON"),
    ],
)
@either_read
def test_hostile(ends: tuple[FrameStream, socket.socket], prefix: bytes, why: str, read: Read) -> None:
    stream, other = ends
    other.sendall(prefix)
    with pytest.raises(FrameError, match=why):
        read(stream, soon())


def test_too_large_to_send(ends: tuple[FrameStream, socket.socket]) -> None:
    with pytest.raises(ValueError, match="above the protocol's"):
        ends[0].send(Kind.INVOKE, {}, bytes(MAX_FRAME_BYTES), soon())
    encode(Kind.INVOKE, {}, bytes(MAX_FRAME_BYTES - 7))
    with pytest.raises(ValueError, match="above the protocol's"):
        encode(Kind.INVOKE, {}, bytes(MAX_FRAME_BYTES - 6))


SIZES = pytest.mark.parametrize(
    "size",
    [0, BUFFER_BYTES - 50, *range(BUFFER_BYTES - 18, BUFFER_BYTES - 14), BUFFER_BYTES - 11, BUFFER_BYTES, 3_000_000],
)


@SIZES
@either_read
def test_sizes_around_the_buffer(ends: tuple[FrameStream, socket.socket], size: int, read: Read) -> None:
    stream, other = ends
    peer = FrameStream(other)
    body = os.urandom(size)

    def send_two() -> None:
        for number in (1, 2):
            peer.send(Kind.RESULT, {"id": number}, body, soon())

    sender = threading.Thread(target=send_two)
    sender.start()
    found = [read(stream, soon()) for _ in (1, 2)]
    sender.join()
    assert [(frame.head, frame.body == body) for frame in found] == [({"id": 1}, True), ({"id": 2}, True)]


def test_deadlines(ends: tuple[FrameStream, socket.socket]) -> None:
    stream, other = ends
    with pytest.raises(TimeoutError):
        stream.receive(time.monotonic())
    other.sendall(encode(Kind.PONG, {})[:6])
    with pytest.raises(TimeoutError):
        stream.receive(time.monotonic() + 0.01)
    with pytest.raises(TimeoutError):
        stream.send(Kind.INVOKE, {}, bytes(8_000_000), time.monotonic() + 0.01)


def test_a_drip_does_not_move_the_deadline(ends: tuple[FrameStream, socket.socket]) -> None:
    """One byte now and then keeps a socket's own timeout from ever coming."""
    stream, other = ends
    stop = threading.Event()

    def drip() -> None:
        other.sendall(struct.pack(">IBI", 1_000_000, 6, 0))
        while not stop.wait(0.005):
            other.sendall(b"x")

    dripper = threading.Thread(target=drip)
    dripper.start()
    try:
        with pytest.raises(TimeoutError):
            stream.receive(time.monotonic() + 0.1)
    finally:
        stop.set()
        dripper.join()


@either_read
def test_end_of_file(ends: tuple[FrameStream, socket.socket], read: Read) -> None:
    stream, other = ends
    other.sendall(encode(Kind.PONG, {"a": 1}) + b"\0\0")
    other.shutdown(socket.SHUT_RDWR)
    assert read(stream, soon()) == Frame(Kind.PONG, {"a": 1})
    for _ in range(2):
        with pytest.raises(ConnectionEnded):
            read(stream, soon())
    with pytest.raises(ConnectionEnded):
        stream.send(Kind.PING, {}, b"", soon())


def test_idle(ends: tuple[FrameStream, socket.socket]) -> None:
    stream, other = ends
    assert stream.idle()
    other.sendall(b"x")
    assert not stream.idle()


def test_hung_up_is_not_idle(ends: tuple[FrameStream, socket.socket]) -> None:
    ends[1].close()
    assert not ends[0].idle()


def test_shutdown_wakes_a_receiver(ends: tuple[FrameStream, socket.socket]) -> None:
    stream, _ = ends
    caught: list[Any] = []

    def wait() -> None:
        try:
            stream.receive(time.monotonic() + 30)
        except ConnectionEnded as error:
            caught.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    stream.shutdown()
    waiter.join(10)
    assert len(caught) == 1


# -- without waiting


def test_take_never_waits(ends: tuple[FrameStream, socket.socket]) -> None:
    stream, other = ends
    data = encode(Kind.RESULT, {"id": 1}, b"x" * 200_000)
    for at in range(0, len(data) - 1, 7001):
        assert stream.take() is None
        other.sendall(data[at : min(at + 7001, len(data) - 1)])
    assert stream.take() is None
    other.sendall(data[-1:])
    assert stream.take() == Frame(Kind.RESULT, {"id": 1}, b"x" * 200_000)
    assert stream.take() is None
    assert stream.idle()


@SIZES
def test_post_sends_what_goes_and_push_the_rest(ends: tuple[FrameStream, socket.socket], size: int) -> None:
    stream, other = ends
    peer = FrameStream(other)
    body = os.urandom(size)
    is_sent = stream.post(Kind.INVOKE, {"id": 1}, body)
    assert is_sent or size > 100_000
    found: list[Frame] = []
    reader = threading.Thread(target=lambda: found.append(peer.receive(soon())))
    reader.start()
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLOUT)
    while not is_sent:
        assert poll.poll(10_000)
        is_sent = stream.push()
    reader.join()
    assert found == [Frame(Kind.INVOKE, {"id": 1}, body)]
    assert stream.push(), "nothing is left"


def test_post_unblocks_a_socket_that_nobody_has_waited_at() -> None:
    ours, theirs = socket.socketpair()
    stream = FrameStream(ours)
    assert not stream.post(Kind.INVOKE, {}, bytes(8_000_000))
    assert not stream.push()
    assert stream.take() is None
    stream.close()
    theirs.close()


def test_post_too_large_or_to_nobody(ends: tuple[FrameStream, socket.socket]) -> None:
    stream, other = ends
    with pytest.raises(ValueError, match="above the protocol's"):
        stream.post(Kind.INVOKE, {}, bytes(MAX_FRAME_BYTES))
    assert stream.post(Kind.INVOKE, {}, b"after it")
    other.close()
    with pytest.raises(ConnectionEnded):
        stream.post(Kind.INVOKE, {}, b"")


def test_the_other_side_goes_while_it_is_told(ends: tuple[FrameStream, socket.socket]) -> None:
    stream, other = ends
    assert not stream.post(Kind.INVOKE, {}, bytes(8_000_000))
    other.close()
    with pytest.raises(ConnectionEnded):
        stream.push()
