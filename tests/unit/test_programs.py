"""Programs that were compiled elsewhere: what is refused, and why."""

from __future__ import annotations

import base64
import io
import json
import struct
import tarfile
from pathlib import Path

import pytest

from functions.packages import upload_from
from functions.programs import packed, problem_of
from nimbus_project.core.errors import InvalidRequest

X86, ARM = 62, 183


def elf(*, kind: int = 2, machine: int = X86, segments: int = 1, loaded: int = 200, body: int = 200) -> bytes:
    """A header, segments that ask for `loaded` bytes, and so many bytes of them."""
    at = 64 + 56 * segments
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, kind, machine, 1, 0, 64, 0, 0, 64, 56, segments, 64, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, at, 0, 0, loaded, loaded, 4096) * segments + bytes(body)


@pytest.mark.parametrize("data", [elf(), elf(kind=3), elf(segments=3)])
def test_a_program_is_taken(data: bytes) -> None:
    assert problem_of(data, "x86_64") == ""


def test_a_real_program_is_taken() -> None:
    assert problem_of(Path("/proc/self/exe").read_bytes()) == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "Must be a 64-bit Linux program"),
        (b"MZ\x90\x00" + bytes(300), "Must be a 64-bit Linux program"),
        (b"\xcf\xfa\xed\xfe" + bytes(300), "GOOS=linux"),
        (b"\x7fELF\x01\x01\x01" + bytes(300), "not a 64-bit"),
        (b"\x7fELF\x02\x02\x01" + bytes(300), "not a 64-bit little-endian"),
        (elf()[:40], "cut off"),
        (elf()[:100], "cut off"),
        (elf(body=199), "cut off"),
        (elf(loaded=2**63), "cut off"),
        (elf(kind=1), "not a program"),
        (elf(kind=4), "not a program"),
        (elf(machine=ARM), "Is for ARM64; functions here run on x86-64"),
        (elf(machine=999), "Is for machine 999"),
        (elf(segments=0), "no segments"),
    ],
)
def test_what_can_not_run_is_refused_with_the_reason(data: bytes, said: str) -> None:
    assert said in problem_of(data, "x86_64")


def test_the_machine_counts() -> None:
    assert problem_of(elf(machine=ARM), "arm64") == ""
    assert "run on ARM64" in problem_of(elf(), "aarch64")


def test_an_upload_is_refused_by_the_field() -> None:
    with pytest.raises(InvalidRequest) as raised:
        upload_from("go1.24", {"binary": base64.b64encode(b"MZ" + bytes(100)).decode()})
    assert "GOOS=linux" in raised.value.details["binary"][0]


def manifest(artifact: bytes) -> dict[str, object]:
    with tarfile.open(fileobj=io.BytesIO(artifact)) as tar:
        assert tar.getmember("main").mode == 0o755
        file = tar.extractfile("nimbus.json")
        assert file is not None
        told: dict[str, object] = json.load(file)
    return told


def test_a_handler_is_known_by_its_shim() -> None:
    assert manifest(packed(elf())) == {"form": "program"}
    assert manifest(packed(elf() + b"\0nimbus-handler-shim/7\0")) == {"form": "handler", "abi": 7}
