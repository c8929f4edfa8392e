"""The zip that functions travel in: its layout, its limits, writing and reading. No database.

    manifest.json                 {"format": "nimbus-functions", "format_version": 1, "functions": [entry, …]}
    code/<function>/<number>.<…>  what was uploaded for one version, byte for byte

An entry::

    {"name", "runtime", "description", "tags", "pinned", "max_concurrency", "max_retries", "max_event_age_sec",
     "cron_expression", "cron_timezone", "on_success", "on_failure",
     "versions": [{"number", "handler", "language", "memory_mb", "timeout_sec", "env_vars", "network", "input_schema",
                   "kind": "source" | "archive" | "binary", "file": "code/…", "sha256"}, …],
     "aliases": [{"name", "description", "routing_config": {"weights": [{"version", "weight"}, …]}}, …]}

Versions are in ascending order: those that aliases send calls to, and last the one that was newest. Numbers tie aliases
to versions within the entry; where it is imported versions get numbers of that place. Secrets, environments, layers,
history and owners do not travel. A reader refuses a `format_version` it does not know; fields it does not know it
passes over, so that later writers may add some. The same functions give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from functions import archives, packages
from nimbus_project.core.errors import InvalidRequest

FORMAT = "nimbus-functions"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MAX_FUNCTIONS = 1000
MAX_ARCHIVE_BYTES = 128 * 1024 * 1024
MAX_MANIFEST_BYTES = 32 * 1024 * 1024

# Of a file's entry in a zip's directory, of which zipfile makes an object each before anything can be checked.
_DIRECTORY_ENTRY = b"PK\x01\x02"
_MAX_DIRECTORY_ENTRIES = 20_000

# The earliest time a zip can tell: nothing in it depends on when it was made.
_EPOCH = (1980, 1, 1, 0, 0, 0)

Entry = Mapping[str, Any]
Files = Mapping[str, bytes]


def pack(entries: Sequence[Entry], files: Files) -> bytes:
    """The zip of these. Raises InvalidRequest when it would be too large to be read again."""
    if sum(map(len, files.values())) > archives.MAX_UNPACKED_BYTES:
        raise InvalidRequest(
            f"These functions have more than {archives.MAX_UNPACKED_BYTES} bytes of code. Export fewer at once."
        )
    manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, "functions": list(entries)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        for name in sorted(files):
            _add(archive, name, files[name])
    return buffer.getvalue()


class Bundle:
    """A zip that was read: its entries as they are, unchecked, and its files, each read when it is wanted."""

    def __init__(self, data: bytes) -> None:
        """Raises InvalidRequest for what is no export, or a zip that means harm."""
        if data.count(_DIRECTORY_ENTRY) > _MAX_DIRECTORY_ENTRIES:
            raise _refused(f"has more than {archives.MAX_FILES} entries")
        archives.check(data, max_bytes=MAX_ARCHIVE_BYTES, field="file")
        self._archive = zipfile.ZipFile(io.BytesIO(data))
        self.entries = _entries(self._read(MANIFEST, MAX_MANIFEST_BYTES))

    def file_of(self, version: Mapping[str, Any]) -> bytes:
        """The upload of a version. Raises InvalidRequest when it is missing or not the one that was exported."""
        name: str = version["file"]
        data = self._read(name, packages.MAX_BINARY_BYTES)
        if data is None:
            raise InvalidRequest(f"The file {name[:200]} is missing in the archive.")
        if hashlib.sha256(data).hexdigest() != version["sha256"]:
            raise InvalidRequest(f"The file {name[:200]} is not what its sha256 says.")
        return data

    def _read(self, name: str, max_bytes: int) -> bytes | None:
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            return None
        if info.file_size > max_bytes:
            raise _refused(f"has a file {name[:200]} of more than {max_bytes} bytes")
        return self._archive.read(info)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def _entries(manifest: bytes | None) -> list[Any]:
    if manifest is None:
        raise _refused(f"has no {MANIFEST}: it is not an export of functions")
    try:
        content = orjson.loads(manifest)
    except orjson.JSONDecodeError as error:
        raise _refused(f"has a {MANIFEST} that is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _refused(f"has a {MANIFEST} that is not one of {FORMAT}")
    found = content.get("format_version")
    if found != FORMAT_VERSION:
        raise _refused(f"has the format_version {found!r:.40}; {FORMAT_VERSION} can be read here")
    entries = content.get("functions")
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_FUNCTIONS:
        raise _refused(f"must have 1 to {MAX_FUNCTIONS} functions")
    return entries


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The archive {reason}.", details={"file": [f"The archive {reason}."]})
