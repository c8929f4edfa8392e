"""What a project needs besides its own files, by its lists: `requirements.txt`, `package.json`. Pure.

Only names and versions are taken from a project. Where packages come from is the operator's business: a list that
names an index, an address or a repository is refused. What is left is written down in one form, so that the same
dependencies have the same key whatever else of the project has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from functions.dependencies import node, python

BUILDER = "1"
"""Counts up with every change of what the builders make of the same lists."""

_READERS: Mapping[str, Callable[[Mapping[str, bytes]], Mapping[str, bytes]]] = {
    "python3.11": python.lists_of,
    "nodejs20": node.lists_of,
}


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Lists that a builder resolves."""

    runtime: str
    lists: Mapping[str, bytes]
    """By file name; nothing but what decides which packages are installed."""

    @property
    def key(self) -> str:
        """sha256 over all that decides what is installed."""
        total = hashlib.sha256(f"dependencies\0{self.runtime}\0{BUILDER}".encode())
        for name in sorted(self.lists):
            total.update(f"\0{name}\0{len(self.lists[name])}\0".encode() + self.lists[name])
        return total.hexdigest()


def dependencies_of(runtime: str, files: Mapping[str, bytes]) -> Dependencies | None:
    """Of a project's files by path; None when there is nothing to install. Raises InvalidRequest for a list that can't
    be read, or asks for more than names and versions."""
    reader = _READERS.get(runtime)
    lists = reader(files) if reader else {}
    return Dependencies(runtime, lists) if lists else None
