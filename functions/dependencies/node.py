"""`package.json` and npm's lock file, less scripts and everything that says where packages come from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from functions.dependencies.refusal import refused

MANIFEST = "package.json"
LOCKS = ("npm-shrinkwrap.json", "package-lock.json")
"""The first that is there counts, as it does for npm."""
MAX_LOCK_BYTES = 16 * 1024 * 1024

_INSTALLED = ("dependencies", "optionalDependencies", "peerDependencies")
_KEPT = (*_INSTALLED, "devDependencies", "peerDependenciesMeta", "overrides")
_NAME = re.compile(r"^(@[a-z0-9~-][a-z0-9._~-]*/)?[A-Za-z0-9_~-][A-Za-z0-9._~-]*$")
_SPEC = re.compile(r"^(npm:(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9_~-][a-z0-9._~-]*@)?[A-Za-z0-9.*^~<>=|&+, -]*$")
_LOCAL = re.compile(r"^\s*\.|\.(tgz|tar\.gz|tar)$")
"""What npm takes for a folder or file although it could be a tag."""


def lists_of(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The manifest and the lock file, if there is one; empty when nothing is to be installed."""
    if MANIFEST not in files:
        return {}
    manifest = _object(MANIFEST, files[MANIFEST])
    if "workspaces" in manifest:
        raise refused(MANIFEST, "Workspaces are not supported: give each function a project of its own.")
    for field in (*_INSTALLED, "devDependencies"):
        _check_wanted(field, manifest.get(field, {}))
    _check_overrides(manifest.get("overrides", {}))
    if not any(manifest.get(field) for field in _INSTALLED):
        return {}
    lock = next((name for name in LOCKS if name in files), None)
    kept = {field: manifest[field] for field in _KEPT if manifest.get(field)}
    if lock is None:
        # Not installed, and without a lock file to agree with of no account.
        kept.pop("devDependencies", None)
    found = {MANIFEST: _written({"name": "function", "version": "1.0.0", "private": True, **kept})}
    if lock is not None:
        if len(files[lock]) > MAX_LOCK_BYTES:
            raise refused(lock, f"Is larger than {MAX_LOCK_BYTES} bytes.")
        found["package-lock.json"] = _written(_unplaced(lock, _object(lock, files[lock])))
    return found


def _object(name: str, data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise refused(name, f"Is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise refused(name, "Must be a JSON object.")
    return value


def _written(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)


def _check_wanted(field: str, wanted: Any) -> None:
    if not isinstance(wanted, dict):
        raise refused(MANIFEST, f"{field} must be an object.")
    for name, spec in wanted.items():
        if not _NAME.match(name):
            raise refused(MANIFEST, f"{field} has {name[:80]!r}, which is no package's name.")
        _check_spec(f"{field}.{name}", spec)


def _check_spec(where: str, spec: Any) -> None:
    if not isinstance(spec, str) or not _SPEC.match(spec) or _LOCAL.search(spec):
        raise refused(
            MANIFEST, f"{where} is {str(spec)[:100]}: only versions from the operator's registry are installed."
        )


def _check_overrides(overrides: Any, where: str = "overrides") -> None:
    if not isinstance(overrides, dict):
        raise refused(MANIFEST, f"{where} must be an object.")
    for name, value in overrides.items():
        if isinstance(value, dict):
            _check_overrides(value, f"{where}.{name}")
        elif not (isinstance(value, str) and value.startswith("$")):
            _check_spec(f"{where}.{name}", value)


def _unplaced(name: str, lock: dict[str, Any]) -> dict[str, Any]:
    """The lock without addresses: npm then asks the operator's registry for the same versions and checks the hashes."""
    for path, entry in _entries(lock):
        if entry.get("link"):
            raise refused(name, f"{path[:100]!r} is a link to a folder, which is not installed.")
        resolved = entry.pop("resolved", "")
        if isinstance(resolved, str) and resolved.startswith(("git", "file:", "ssh:")):
            raise refused(
                name, f"{path[:100]!r} comes from a repository or folder: only the operator's registry is used."
            )
    packages = lock.get("packages")
    if isinstance(packages, dict) and isinstance(packages.get(""), dict):
        root = {key: value for key, value in packages[""].items() if key in _KEPT}
        packages[""] = {"name": "function", "version": "1.0.0", **root}
    return {**lock, "name": "function", "version": "1.0.0"}


def _entries(lock: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All packages of a lock file, of versions 2 and 3 (a flat table) and of version 1 (nested)."""
    waiting = [table for key in ("packages", "dependencies") if isinstance(table := lock.get(key), dict)]
    while waiting:
        for path, entry in waiting.pop().items():
            if isinstance(entry, dict):
                yield path, entry
                if isinstance(inner := entry.get("dependencies"), dict):
                    waiting.append(inner)
