"""What was uploaded, by its sha256: stored once, shared by every version that has the same bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from functions import archives, artifacts, handlers, programs
from functions.dependencies import dependencies_of
from functions.models import FunctionVersion, Package, PackageKind
from nimbus_project.core.errors import InvalidRequest

MAX_SOURCE_BYTES = 512 * 1024
MAX_BINARY_BYTES = 50 * 1024 * 1024

_WASM = b"\0asm\x01\0\0\0"
_C = re.compile(
    r"^[ \t]*#[ \t]*(?:include|define)\b"  # no line of Rust begins like that
    r"|^(?:(?:static|const|unsigned|void|int|char|double|float|long|size_t|u?int\d+_t|struct \w+)[ \t*]+)+\w+[ \t]*\(",
    re.MULTILINE,
)
_RUST = re.compile(r"\bfn\s+\w+\s*[(<]")
_FIELDS = {PackageKind.SOURCE: "code", PackageKind.ARCHIVE: "archive"}
_SUFFIXES = {".rs": "rust", ".c": "c", ".go": "go"}


@dataclass(frozen=True, slots=True)
class Upload:
    """One of a function's code, binary and archive, as bytes that were checked."""

    kind: PackageKind
    data: bytes


def upload_from(runtime: str, given: Mapping[str, Any]) -> Upload | None:
    """What the request carries, None if nothing. Raises InvalidRequest with what is wrong with it."""
    present = [kind for kind in ("code", "binary", "archive") if given.get(kind) is not None]
    if not present:
        return None
    if len(present) > 1:
        raise InvalidRequest(f"Give one of code, binary and archive, not {' and '.join(present)}.")
    (field,) = present
    if field == "code":
        return Upload(PackageKind.SOURCE, given["code"].encode())
    return checked_upload(runtime, PackageKind(field), decoded(field, given[field]))


def checked_upload(runtime: str, kind: PackageKind, data: bytes) -> Upload:
    """Bytes that came some other way than as a field of a request. Raises InvalidRequest."""
    match kind:
        case PackageKind.ARCHIVE:
            archives.check(data, max_bytes=MAX_BINARY_BYTES)
            dependencies_of(runtime, artifacts.files_of_zip(data))
        case PackageKind.BINARY:
            _check_binary(runtime, data)
        case PackageKind.SOURCE:
            _check_source(data)
    return Upload(kind, data)


def check_handler(runtime: str, handler: str, upload: Upload) -> None:
    """Raises InvalidRequest for an upload that was checked and certainly has not what the handler names."""
    match upload.kind:
        case PackageKind.SOURCE:
            problem = handlers.problem_of_source(runtime, handler, upload.data)
        case PackageKind.ARCHIVE:
            with archives.opened(upload.data) as files:
                problem = handlers.problem_of_project(runtime, handler, files)
        case _:
            return
    if problem is not None:
        raise _wrong(_FIELDS[upload.kind] if problem.in_source else "handler", problem.text)


def check_change(runtime: str, basis: FunctionVersion, handler: str, upload: Upload | None) -> None:
    """The same for what is to become of a version. A handler that comes alone is held against the names of a
    project's files only: the code that has it may be what comes next."""
    if upload is not None:
        check_handler(runtime, handler, upload)
        return
    package = basis.package
    if handler != basis.handler and package.kind == PackageKind.ARCHIVE and handlers.files_of(runtime, handler):
        with archives.opened(content(package)) as files:
            if problem := handlers.problem_of_names(runtime, handler, files):
                raise _wrong("handler", problem.text)


def _check_source(data: bytes) -> None:
    if len(data) > MAX_SOURCE_BYTES:
        raise _wrong("code", f"Is {len(data)} bytes long; at most {MAX_SOURCE_BYTES} (512 KiB) are allowed.")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _wrong("code", "Must be UTF-8 text.") from error
    if not text.strip() or "\0" in text:
        raise _wrong("code", "Must not be blank or have NUL characters.")


def decoded(field: str, text: str) -> bytes:
    """Base64 of at most 50 MiB. Raises InvalidRequest."""
    # Refused by length before it is decoded: four characters are three bytes.
    if len(text) > MAX_BINARY_BYTES * 4 // 3 + 4:
        raise _wrong(field, f"Is larger than {MAX_BINARY_BYTES} bytes (50 MiB).")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(field, "Must be base64 (RFC 4648).") from error


def _check_binary(runtime: str, data: bytes) -> None:
    if len(data) > MAX_BINARY_BYTES:
        raise _wrong("binary", f"Is larger than {MAX_BINARY_BYTES} bytes (50 MiB).")
    match runtime:
        case "go1.24":
            if problem := programs.problem_of(data):
                raise _wrong("binary", problem)
        case "wasm":
            if not data.startswith(_WASM):
                raise _wrong("binary", "Must be a WebAssembly module, version 1.")
        case _:
            raise _wrong("binary", f"The runtime {runtime} takes code or archive, no binary.")


def _wrong(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", details={field: [message]})


def language_of(runtime: str, handler: str, asked: str, upload: Upload) -> str:
    """What a wasm function is written in: as asked, else by the handler's suffix, else by the look of the source.
    Raises InvalidRequest when a source is of neither."""
    if runtime != "wasm":
        return {"go1.24": "go"}.get(runtime, "")
    if asked:
        return asked
    if upload.kind == PackageKind.BINARY:
        return ""
    if upload.kind == PackageKind.ARCHIVE:
        names = artifacts.files_of_zip(upload.data)
        return "rust" if any(name.endswith(".rs") for name in names) else "c"
    for suffix, language in _SUFFIXES.items():
        if handler.endswith(suffix):
            return language
    code = upload.data.decode()
    if _C.search(code):
        return "c"
    if _RUST.search(code):
        return "rust"
    raise _wrong("language", "Say whether the source is rust or c.")


def store(upload: Upload) -> Package:
    """The package of these bytes, made if it was not there, and locked: it stays until the transaction that will use it
    has ended. Two writers of the same bytes agree by the key."""
    if upload.kind == PackageKind.SOURCE:
        sha256, stored_as, data = hashlib.sha256(upload.data).hexdigest(), "", upload.data
    else:
        (sha256, stored_as), data = artifacts.keep(artifacts.PACKAGES, upload.data), b""
    package = Package(sha256=sha256, kind=upload.kind, data=data, stored_as=stored_as, size_bytes=len(upload.data))
    while True:
        Package.objects.bulk_create([package], ignore_conflicts=True)
        if _locked([sha256]):
            return package
        # It was there when it was to be made, and went with its last user before it could be locked.


def _locked(sha256s: list[str]) -> list[str]:
    """Those that are there, locked; in one order, so that two who want the same ones don't wait for each other."""
    # NO KEY: who only adds a version of a package that is there already waits for nobody.
    rows = Package.objects.select_for_update(no_key=True).filter(sha256__in=sha256s).order_by("sha256")
    return list(rows.values_list("sha256", flat=True))


def content(package: Package) -> bytes:
    """The uploaded bytes."""
    return artifacts.fetch(package.stored_as) if package.stored_as else bytes(package.data)


def remove_unused(sha256s: list[str]) -> int:
    """Delete those of the packages that no version uses any more. The count."""
    # Under the lock: who stored one of them in the meantime has a version of it by then.
    deleted, _ = Package.objects.filter(sha256__in=_locked(sha256s), versions__isnull=True).delete()
    return deleted
