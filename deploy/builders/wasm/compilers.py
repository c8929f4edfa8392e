"""What the two languages have in common: how a compiler is run, and what a source without its comments is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

STACK_BYTES = 1024 * 1024
"""For local arrays and what has its address taken; lies at the memory's lower end, so that overflowing it is a trap."""

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


class Rejected(Exception):
    """The user's sources can't be built; the message says why, and is empty where the compiler has said it."""


def run(command: list[str], folder: Path) -> None:
    """Run a compiler where the sources are; it speaks for itself. Raises Rejected."""
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, check=False)
    if done.returncode < 0:
        raise Rejected("The compiler was ended by the system; most likely it ran out of memory.")
    if done.returncode:
        raise Rejected("")


def code_of(path: Path) -> str:
    """A source's text without its comments."""
    return _COMMENT.sub(" ", path.read_text(errors="replace"))
