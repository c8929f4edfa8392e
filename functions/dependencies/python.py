"""`requirements.txt`: pip's format, less everything that says where packages come from."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from packaging.requirements import InvalidRequirement, Requirement

from functions.dependencies.refusal import refused
from nimbus_project.core.errors import InvalidRequest

LIST = "requirements.txt"
MAX_LISTS = 20
MAX_LINES = 5000

_COMMENT = re.compile(r"(^|\s+)#.*$")
_INCLUDE = re.compile(r"^(-r|--requirement|-c|--constraint)(?:\s+|=|(?<=-[rc]))(\S.*)$")
_ALLOWED = re.compile(r"^(--pre|--prefer-binary|--require-hashes|--only-binary[ =][A-Za-z0-9._:,-]+)$")
_HASH = re.compile(r"\s--hash[ =]\s*sha(?:256|384|512):[0-9a-f]{64,128}(?=\s|$)")
_PATH = re.compile(r"[A-Za-z0-9._/+@][A-Za-z0-9._/+@-]*")
"""What pip, which splits lines as a shell does, reads as one word and as no option."""
_FILE = re.compile(r"\.(whl|zip|tar|gz|bz2|xz|tgz)$")
_WHERE_FROM = (
    "-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host", "--pypi-url",
)  # fmt: skip


def lists_of(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """`requirements.txt` and what it includes, without comments; empty when they ask for nothing."""
    if LIST not in files:
        return {}
    found: dict[str, bytes] = {}
    waiting, asks = [LIST], False
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if len(found) == MAX_LISTS:
            raise refused(name, f"Is one of more than {MAX_LISTS} lists that include each other.")
        lines = []
        for number, line in _lines(name, files[name]):
            where = f"{name}, line {number}"
            if match := _INCLUDE.match(line):
                included = _included(where, posixpath.dirname(name), match[2], files)
                waiting.append(included)
                line = f"{match[1][:2] if match[1][1] != '-' else match[1]} {_beside(name, included)}"
            elif _check(where, line):
                asks = True
            lines.append(line)
        found[name] = "".join(f"{line}\n" for line in lines).encode()
    return found if asks else {}


def _beside(name: str, included: str) -> str:
    return posixpath.relpath(included, posixpath.dirname(name) or ".")


def _lines(name: str, data: bytes) -> Iterator[tuple[int, str]]:
    """Logical lines with the number of their first."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(name, "Must be UTF-8 text.") from error
    whole, began = "", 0
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise refused(name, f"Has more than {MAX_LINES} lines.")
    for number, line in enumerate([*lines, ""], 1):
        began = began if whole else number
        if line.endswith("\\"):
            whole += line[:-1] + " "
            continue
        if stripped := " ".join(_COMMENT.sub("", whole + line).split()):
            yield began, stripped
        whole = ""


def _included(where: str, folder: str, path: str, files: Mapping[str, bytes]) -> str:
    included = posixpath.normpath(posixpath.join(folder, path.strip()))
    if included not in files or not _PATH.fullmatch(path):
        raise refused(where, f"Includes {path[:100]!r}, which is not in the archive, or has an unusual name.")
    return included


def _check(where: str, line: str) -> bool:
    """Whether the line asks for a package; else it is an option that may stand. Raises InvalidRequest."""
    if "${" in line:
        raise refused(where, "Must not refer to environment variables.")
    if line.startswith("-"):
        _check_option(where, line)
        return False
    wanted = _HASH.sub("", f"{line} ").strip()
    try:
        requirement = Requirement(wanted)
    except InvalidRequirement as error:
        raise _unreadable(where, wanted) from error
    # pip takes a word that begins with - for an option, wherever it stands.
    if requirement.url or _FILE.search(requirement.name) or " -" in wanted:
        raise _unreadable(where, wanted)
    return True


def _check_option(where: str, line: str) -> None:
    if _ALLOWED.match(line):
        return
    option = re.split(r"[ =]", line, maxsplit=1)[0]
    if option in _WHERE_FROM or line.startswith(("-i", "-f")):
        raise refused(
            where, f"{option} is not for a project to say: where packages come from is set up by the operator."
        )
    if option in ("-e", "--editable"):
        raise refused(where, "-e installs a folder or repository; put the folder itself into the archive instead.")
    raise refused(where, f"The option {option[:60]} can't be used here.")


def _unreadable(where: str, line: str) -> InvalidRequest:
    shown = repr(line[:100])
    if "://" in line or line.startswith(("git+", "hg+", "svn+", "bzr+")):
        return refused(
            where, f"{shown} is an address: only names and versions from the operator's index are installed."
        )
    if line.startswith((".", "/")) or _FILE.search(line):
        return refused(where, f"{shown} is a file or folder: put Python packages into the archive unpacked.")
    return refused(where, f"{shown} is no requirement such as Jinja2>=3.1.")
