"""What the two languages have in common: how a compiler is run, and what a source without its comments is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

STACK_BYTES = 1024 * 1024
"""For local arrays and what has its address taken; lies at the memory's lower end, so that overflowing it is a trap."""

_OBJECT = re.compile(rb"/\S*/([^/\s]+?)(?:-[0-9a-f]{6})?\.o\b")
"""What was made of a source on the way: where it lies is none of the user's business."""
_NOISE = re.compile(rb"^clang: error: linker command failed|^ += note: (LC_ALL=|some arguments are omitted)")
"""The linker's command line, and that it failed, which it has said itself."""
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


class Rejected(Exception):
    """The user's sources can't be built; the message says why, and is empty where the compiler has said it."""


def run(command: list[str], folder: Path) -> None:
    """Run a compiler where the sources are; it speaks for itself. Raises Rejected."""
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as compiler:
        assert compiler.stdout is not None
        for line in compiler.stdout:
            if not _NOISE.search(line):
                sys.stderr.buffer.write(_OBJECT.sub(rb"\1.o", line))
                sys.stderr.buffer.flush()
    if compiler.returncode < 0:
        raise Rejected("The compiler was ended by the system; most likely it ran out of memory.")
    if compiler.returncode:
        raise Rejected("")


def code_of(path: Path) -> str:
    """A source's text without its comments."""
    return _COMMENT.sub(" ", path.read_text(errors="replace"))
