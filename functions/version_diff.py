"""Two versions side by side, as a unified diff. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

MAX_CELLS = 4_000_000
"""Changed lines of one side times those of the other, up to which the best diff is looked for: about a second. Above
it all changed lines are shown as replaced, which is as true and only longer."""
_CONTEXT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One version, as far as it is compared."""

    name: str
    """Of the file in the diff's header."""
    code: str | None
    """Source text; None when it was uploaded as an archive or a binary."""
    code_hash: str
    config: Mapping[str, Any]
    """Plain JSON values by name."""


NOTHING = Side(name="/dev/null", code="", code_hash="", config={})
"""What the first version is compared with."""


def unified(old: Side, new: Side, *, old_label: str, new_label: str) -> str:
    """The configuration's differences, then those of the code; "" when there are none. `git apply` reads it."""
    config = _text(f"a/configuration\t{old_label}", f"b/configuration\t{new_label}", _lines(old), _lines(new))
    if old.code is None or new.code is None:
        same = old.code_hash == new.code_hash
        binary = "" if same else f"Binary files {old_label} {old.code_hash} and {new_label} {new.code_hash} differ\n"
        return config + binary
    before, after = _split(old.code), _split(new.code)
    return config + _text(f"a/{old.name}\t{old_label}", f"b/{new.name}\t{new_label}", before, after)


def changed(old: Side, new: Side) -> list[str]:
    """Names of what differs: ``code`` and fields of the configuration."""
    fields = sorted(
        name for name in old.config.keys() | new.config.keys() if old.config.get(name) != new.config.get(name)
    )
    return [*(["code"] if old.code_hash != new.code_hash else []), *fields]


def _lines(side: Side) -> list[str]:
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    return _split(orjson.dumps(dict(side.config), option=options).decode() + "\n") if side.config else []


def _split(text: str) -> list[str]:
    """Lines with their newlines; only "\\n" ends one, as diff and git see it."""
    parts = text.split("\n")
    return [*(part + "\n" for part in parts[:-1]), *parts[-1:]] if parts[-1] else [part + "\n" for part in parts[:-1]]


def _text(old_header: str, new_header: str, before: Sequence[str], after: Sequence[str]) -> str:
    if list(before) == list(after):
        return ""
    return "".join([f"--- {old_header}\n", f"+++ {new_header}\n", *_hunks(before, after)])


def _hunks(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Common lines at both ends are cut off first: most changes are small, and difflib is quadratic."""
    shorter = min(len(before), len(after))
    head = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    tail = next((i for i in range(shorter - head) if before[-1 - i] != after[-1 - i]), shorter - head)
    keep_head, keep_tail = max(0, head - _CONTEXT), max(0, tail - _CONTEXT)
    old, new = before[keep_head : len(before) - keep_tail], after[keep_head : len(after) - keep_tail]
    for group in _Between(head - keep_head, tail - keep_tail, old, new).get_grouped_opcodes(_CONTEXT):
        yield from _hunk(group, old, new, keep_head)


Opcode = tuple[Literal["replace", "delete", "insert", "equal"], int, int, int, int]


class _Between(difflib.SequenceMatcher[str]):
    """What is between common ends, whose lines stay each other's: matched with others they would be no context, and to
    git a hunk without any reaches to the end of the file."""

    def __init__(self, first: int, last: int, old: Sequence[str], new: Sequence[str]) -> None:
        self._first, self._last = first, last
        self._sizes = len(old) - first - last, len(new) - first - last
        super().__init__(None, old[first : len(old) - last], new[first : len(new) - last])

    def get_opcodes(self) -> list[Opcode]:
        """Of the whole."""
        old, new = self._sizes
        first, last = self._first, self._last
        between: list[Opcode] = [("replace", 0, old, 0, new)]
        if old * new <= MAX_CELLS:
            between = super().get_opcodes()
        return [
            ("equal", 0, first, 0, first),
            *((tag, i + first, j + first, m + first, n + first) for tag, i, j, m, n in between),
            ("equal", first + old, first + old + last, first + new, first + new + last),
        ]


def _hunk(
    group: Sequence[tuple[str, int, int, int, int]], old: Sequence[str], new: Sequence[str], offset: int
) -> Iterator[str]:
    begin, end = group[0], group[-1]
    old_range = _range(begin[1] + offset, end[2] + offset)
    yield f"@@ -{old_range} +{_range(begin[3] + offset, end[4] + offset)} @@\n"
    for tag, old_from, old_to, new_from, new_to in group:
        if tag == "equal":
            yield from (_shown(" ", line) for line in old[old_from:old_to])
        else:
            yield from (_shown("-", line) for line in old[old_from:old_to])
            yield from (_shown("+", line) for line in new[new_from:new_to])


def _shown(mark: str, line: str) -> str:
    return mark + line if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"


def _range(begin: int, end: int) -> str:
    """As in GNU diff: an empty range names the line before it."""
    length = end - begin
    if length == 1:
        return str(begin + 1)
    return f"{begin + 1 if length else begin},{length}"
