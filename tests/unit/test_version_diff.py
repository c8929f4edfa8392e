"""Unified diffs of versions, read back by git."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.version_diff import NOTHING, Side, changed, unified

LABELS = {"old_label": "version 1", "new_label": "version 2"}


def side(code: str | None, code_hash: str = "", **config: object) -> Side:
    return Side(name="handler.py", code=code, code_hash=code_hash or str(hash(code)), config=config)


def code_diff(old: str, new: str) -> str:
    return unified(side(old), side(new), **LABELS)


def test_code_and_configuration_are_shown_each_with_its_header() -> None:
    old, new = side("a\nb\n", "1", memory_mb=128, timeout_sec=3), side("a\nc\n", "2", memory_mb=256, timeout_sec=3)
    text = unified(old, new, **LABELS)
    assert '-  "memory_mb": 128,' in text and '+  "memory_mb": 256,' in text
    assert "--- a/handler.py\tversion 1\n+++ b/handler.py\tversion 2\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n" in text
    assert text.index("a/configuration") < text.index("a/handler.py")
    assert changed(old, new) == ["code", "memory_mb"]


def test_nothing_differs() -> None:
    assert unified(side("a\n", memory_mb=1), side("a\n", memory_mb=1), **LABELS) == ""
    assert changed(side("a\n", memory_mb=1), side("a\n", memory_mb=1)) == []


def test_the_first_version_is_all_new() -> None:
    text = unified(NOTHING, side("a\n", memory_mb=1), **LABELS)
    assert "@@ -0,0 +1 @@\n+a\n" in text and '+  "memory_mb": 1' in text


def test_what_is_no_text_is_named_by_its_hash() -> None:
    text = unified(side(None, "aaa"), side(None, "bbb"), **LABELS)
    assert text == "Binary files version 1 aaa and version 2 bbb differ\n"
    assert unified(side(None, "aaa"), side(None, "aaa"), **LABELS) == ""
    assert "bbb" in unified(side("x", "aaa"), side(None, "bbb"), **LABELS)


def test_the_missing_newline_at_the_end_is_a_difference() -> None:
    assert code_diff("a\n", "a") == (
        "--- a/handler.py\tversion 1\n+++ b/handler.py\tversion 2\n@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n"
    )


def test_only_a_newline_ends_a_line() -> None:
    assert "-a\x0cb\u2028c\rd\n+a\x0cb\u2028c\re\n" in code_diff("a\x0cb\u2028c\rd\n", "a\x0cb\u2028c\re\n")


LINES = st.lists(st.sampled_from(["a", "b", "c", "", " d", "-e", "+f", "@@"]), max_size=30)


@pytest.fixture(scope="module")
def git_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not here")
    return tmp_path_factory.mktemp("git")


def applied(folder: Path, old: str, diff: str) -> str:
    """What `git apply` makes of the old text with this diff."""
    (folder / "handler.py").write_bytes(old.encode())
    subprocess.run(
        ["git", "apply", "--unsafe-paths", "-"], cwd=folder, input=diff.encode(), check=True, capture_output=True
    )
    return (folder / "handler.py").read_bytes().decode()


@settings(max_examples=40, deadline=None)
@given(old=LINES, new=LINES, ends=st.tuples(st.booleans(), st.booleans()))
def test_git_makes_the_new_from_the_old(
    git_folder: Path, old: list[str], new: list[str], ends: tuple[bool, bool]
) -> None:
    # git does not turn an empty file into one with text by a diff of two names, nor the other way.
    before = "head\n" + "\n".join(old) + "\n" * ends[0]
    after = "head\n" + "\n".join(new) + "\n" * ends[1]
    diff = code_diff(before, after)
    assert (diff == "") == (before == after)
    if diff:
        assert applied(git_folder, before, diff) == after


def test_lines_that_are_common_at_the_end_are_context(git_folder: Path) -> None:
    before, after = "head\nb\nb\nb\nb", "head\na\nb\nb\nb\nb\nb"
    diff = code_diff(before, after)
    assert applied(git_folder, before, diff) == after
    assert diff.endswith("@@ -1,4 +1,6 @@\n head\n+a\n+b\n b\n b\n b\n")


def test_a_hostile_pair_takes_bounded_time_and_is_still_true(git_folder: Path) -> None:
    """Half a mebibyte in which every other line differs is what difflib takes minutes for."""
    old = "".join(f"old {n}\nsame {n}\n" for n in range(20_000)) + "old\n"
    new = "".join(f"new {n}\nsame {n}\n" for n in range(20_000)) + "new\n"
    before, after = ("head\n" * 10 + middle + "tail\n" * 10 for middle in (old, new))
    began = time.process_time()
    diff = code_diff(before, after)
    assert time.process_time() - began < 10
    assert applied(git_folder, before, diff) == after
    assert diff.count("\n head") == 3 and diff.count("\n tail") == 3
