"""The journal of finished runs: what was written is read, whatever the writer died of, and nothing else is."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invocations import journal
from invocations.journal import Journal, Reader, abandoned
from nimbus_project.config import ROOT

HEADING = b"id,name\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and batches of a few lines."""
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 64)
    monkeypatch.setattr(journal, "READ_BYTES", 32)


def everything(reader: Reader) -> bytes:
    """All that is left, each batch dealt with."""
    found = b""
    while (batch := reader.batch())[1]:
        assert batch[0] == HEADING
        assert batch[1].endswith(b"\n")
        found += batch[1]
        reader.advance()
    return found


def lines(*numbers: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in numbers)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def die(written: Journal) -> None:
    """As a kill would have it: the kernel closes what it held."""
    os.close(written._fd)
    os.close(written._claim)


# -- writing and reading


def test_what_was_written_is_read_once_and_leaves_no_file(folder: Path) -> None:
    written = Journal(folder, "w", HEADING)
    reader = written.reader()
    assert reader.batch()[1] == b""
    written.append(lines(1, 2))
    written.add(lines(3))
    assert everything(reader) == lines(1, 2)
    written.flush()
    assert everything(reader) == lines(3)
    assert everything(reader) == b""
    assert reader.done == written.end
    written.close(reader.done)
    assert names(folder) == []


def test_news_come_with_what_is_written(folder: Path) -> None:
    written = Journal(folder, "w", HEADING)
    written.add(lines(1))
    assert not written.news.is_set()
    written.flush()
    assert written.news.is_set()
    written.news.clear()
    written.append(lines(2))
    assert written.news.is_set()


def test_a_batch_stays_until_it_is_dealt_with(folder: Path) -> None:
    written = Journal(folder, "w", HEADING)
    written.append(lines(1))
    reader = written.reader()
    first = reader.batch()
    assert reader.batch() == first == (HEADING, lines(1))
    assert reader.done < written.end
    reader.advance()
    assert reader.done == written.end


def test_nobody_else_may_read_it(folder: Path) -> None:
    Journal(folder, "w", HEADING).append(lines(1))
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.integers(0, 120), st.sampled_from(["read", "flush"])), max_size=40))
def test_any_order_of_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, small: None, steps: list[int | str]
) -> None:
    """Numbers are lines of so many bytes, every third collected first; whole files come and go meanwhile."""
    folder = tmp_path_factory.mktemp("any")
    written = Journal(folder, "w", HEADING)
    reader = written.reader()
    expected = found = b""
    pending = b""
    for number, step in enumerate(steps):
        if step == "read":
            found += everything(reader)
            assert found == expected
        elif step == "flush":
            written.flush()
            expected, pending = expected + pending, b""
        elif number % 3:
            line = b"%d" % number + b"x" * int(step) + b"\n"
            written.append(line)
            expected += line
        else:
            written.add(line := b"x" * int(step) + b"\n")
            pending += line
    written.flush()
    assert found + everything(reader) == expected + pending
    assert reader.done == written.end
    assert len(list(folder.glob("*.journal"))) == 1
    written.close(reader.done)
    assert names(folder) == []


def test_a_line_larger_than_a_batch_is_read_whole(folder: Path, small: None) -> None:
    written = Journal(folder, "w", HEADING)
    large = b"x" * 1000 + b"\n"
    written.append(lines(1) + large + lines(2))
    assert everything(written.reader()) == lines(1) + large + lines(2)


def test_threads_may_write_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 2000)
    written = Journal(folder, "w", HEADING)
    reader = written.reader()
    threads = [
        Thread(target=lambda n=n: [written.append(lines(1000 * n + i) * 2) for i in range(200)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    found = b""
    while any(thread.is_alive() for thread in threads):
        found += everything(reader)
    for thread in threads:
        thread.join()
    found += everything(reader)
    assert sorted(found.splitlines()) == sorted(
        lines(*(1000 * n + i for n in range(4) for i in range(200))).split(b"\n")[:-1] * 2
    )
    assert len(names(folder)) == 2, "one file and its lock: the others are read"


# -- files that follow one another


def test_a_file_that_was_read_goes_when_another_follows(folder: Path, small: None) -> None:
    written = Journal(folder, "w", HEADING)
    for number in range(30):
        written.append(lines(number))
    before = len(list(folder.glob("*.journal")))
    reader = written.reader()
    assert everything(reader) == lines(*range(30))
    assert before > 2
    assert len(list(folder.glob("*.journal"))) == 1
    assert reader.done == written.end


def test_what_was_not_read_is_left_for_others(folder: Path, small: None) -> None:
    written = Journal(folder, "w", HEADING)
    reader = written.reader()
    for number in range(30):
        written.append(lines(number))
    first = reader.batch()[1]
    reader.advance()
    written.close(reader.done)
    (rest,) = [everything(left) for left in abandoned(folder)]
    assert rest.endswith(lines(*range(20, 30)))
    assert set(first.splitlines()) | set(rest.splitlines()) == set(lines(*range(30)).splitlines())


# -- a disk that is full


def full_after(monkeypatch: pytest.MonkeyPatch, room: int, meanwhile: Callable[[], object] = lambda: None) -> None:
    """The disk takes so many bytes of the next writes, then none; `meanwhile` happens in between."""
    left = [room]
    write = os.write

    def limited(fd: int, data: bytes) -> int:
        if left[0] == 0:
            meanwhile()
            raise OSError(errno.ENOSPC, "No space left on device")
        count = write(fd, bytes(data)[: left[0]])
        left[0] -= count
        return count

    monkeypatch.setattr(journal.os, "write", limited)


@pytest.mark.parametrize("room", [0, 3, 7, 9, 14, 20])
def test_a_full_disk_costs_nothing_that_was_collected(folder: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    written = Journal(folder, "w", HEADING)
    reader = written.reader()
    written.append(lines(0))
    written.add(lines(1, 2, 3))
    with monkeypatch.context() as patch:
        full_after(patch, room)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                written.flush()
        found = everything(reader)
        assert found == lines(*range(1 + room // 7)), "whole lines only"
    written.add(lines(4))
    written.flush()
    assert found + everything(reader) == lines(0, 1, 2, 3, 4)


def test_what_was_read_while_the_disk_filled_is_not_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Journal(folder, "w", HEADING)
    reader = written.reader()
    found: list[bytes] = []
    with monkeypatch.context() as patch:
        full_after(patch, 10, lambda: found.append(everything(reader)))
        with pytest.raises(OSError, match="No space"):
            written.append(lines(1, 2))
    written.append(b"another one, of another length\n")
    assert found == [lines(1)]
    assert everything(reader) == b"another one, of another length\n"


@pytest.mark.parametrize("room", [0, 3])
def test_a_next_file_without_room_is_none(
    folder: Path, small: None, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    written = Journal(folder, "w", HEADING)
    reader = written.reader()
    written.append(lines(*range(10)))
    with monkeypatch.context() as patch:
        full_after(patch, room)
        with pytest.raises(OSError, match="No space"):
            written.append(lines(10))
    assert everything(reader) == lines(*range(10))
    written.append(lines(11))
    written.append(lines(12))
    assert everything(reader) == lines(11, 12)
    assert reader.done == written.end


def test_a_journal_without_room_for_its_heading_is_nobodys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        full_after(patch, 3)
        with pytest.raises(OSError, match=r"no room|No space"):
            Journal(folder, "w", HEADING)
    assert [everything(each) for each in abandoned(folder)] == [b""]
    assert names(folder) == []
    Journal(folder, "w", HEADING).append(lines(1))


def test_who_writes_after_the_end_gets_an_error(folder: Path) -> None:
    """The descriptor's number is another file's by then."""
    written = Journal(folder, "w", HEADING)
    written.close(written.end)
    other = os.open(folder / "other", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(OSError, match="Bad file"):
            written.append(lines(1))
        assert (folder / "other").read_bytes() == b""
    finally:
        os.close(other)


# -- writers that die


@pytest.mark.parametrize("torn", [b"", b"l", b"line 3", b"line 3\tand mo"])
def test_a_last_line_without_its_end_is_passed_over(folder: Path, torn: bytes) -> None:
    written = Journal(folder, "w", HEADING)
    written.append(lines(1, 2))
    os.write(written._fd, torn)
    assert everything(written.reader()) == lines(1, 2)
    die(written)
    (left,) = [everything(each) for each in abandoned(folder)]
    assert left == lines(1, 2)
    assert names(folder) == []


@pytest.mark.parametrize("heading", [b"", b"id,na"])
def test_a_writer_that_died_at_once_leaves_nothing(folder: Path, heading: bytes) -> None:
    folder.mkdir()
    (folder / "w.00000000.journal").write_bytes(heading)
    (folder / "w.lock").touch()
    assert [everything(each) for each in abandoned(folder)] == [b""]
    assert names(folder) == []


def test_a_living_writer_keeps_its_journal(folder: Path) -> None:
    written = Journal(folder, "w", HEADING)
    written.append(lines(1))
    assert list(abandoned(folder)) == []
    with pytest.raises(OSError, match="has a writer"):
        Journal(folder, "w", HEADING)
    assert everything(written.reader()) == lines(1)


def test_two_writers_of_one_folder_do_not_meet(folder: Path) -> None:
    one, other = Journal(folder, "w", HEADING), Journal(folder, "w2", HEADING)
    one.append(lines(1))
    other.append(lines(2))
    assert (everything(one.reader()), everything(other.reader())) == (lines(1), lines(2))
    die(one)
    assert [everything(each) for each in abandoned(folder)] == [lines(1)]
    other.append(lines(3))
    assert everything(other.reader()) == lines(2, 3)


def test_a_dead_writers_journal_is_one_readers_alone(folder: Path) -> None:
    written = Journal(folder, "w", HEADING)
    written.append(lines(1))
    die(written)
    for reader in abandoned(folder):
        assert list(abandoned(folder)) == []
        assert everything(reader) == lines(1)
    assert names(folder) == []


def test_what_could_not_be_dealt_with_stays(folder: Path) -> None:
    written = Journal(folder, "w", HEADING)
    written.append(lines(1))
    die(written)

    def deal() -> None:
        for reader in abandoned(folder):
            reader.batch()
            raise RuntimeError("the database is away")

    with pytest.raises(RuntimeError):
        deal()
    assert [everything(each) for each in abandoned(folder)] == [lines(1)]


def test_several_files_of_a_dead_writer_are_read_in_order(folder: Path, small: None) -> None:
    written = Journal(folder, "w", HEADING)
    reader = written.reader()
    for number in range(30):
        written.append(lines(number))
    for _ in range(5):
        reader.batch()
        reader.advance()
    die(written)
    assert not (folder / "w.00000000.journal").exists(), "the first ones are gone"
    (left,) = [everything(each) for each in abandoned(folder)]
    assert lines(*range(30)).endswith(left) and left.startswith(b"line ")
    assert names(folder) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from invocations.journal import Journal
journal = Journal(Path(sys.argv[1]), "killed", b"id,name\\n")
for number in range(100):
    journal.append(b"line %d\\n" % number)
journal.add(b"never answered\\n")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_nothing_it_has_written(folder: Path) -> None:
    process = subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=ROOT, timeout=60, check=False)
    assert process.returncode == -9
    assert [everything(each) for each in abandoned(folder)] == [lines(*range(100))]
    assert names(folder) == []
