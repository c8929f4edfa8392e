"""Linux programs that were compiled elsewhere: whether one can run here, and which form it has. Pure."""

from __future__ import annotations

import json
import platform
import re
import struct
from typing import Final

from functions.artifacts import tar_of

MANIFEST: Final = "nimbus.json"
"""Beside the program in an artifact: what the builder, or this module, tells the runner of it."""

_MACHINES: Final = {
    "x86_64": (62, "x86-64"),
    "amd64": (62, "x86-64"),
    "aarch64": (183, "ARM64"),
    "arm64": (183, "ARM64"),
}
_NAMES: Final = {3: "32-bit x86", 40: "32-bit ARM", 62: "x86-64", 183: "ARM64", 243: "RISC-V"}
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_EXECUTABLE, _SHARED, _LOADED = 2, 3, 1
_SHIM: Final = re.compile(rb"nimbus-handler-shim/(\d+)")
_BUILD_IT: Final = "build it with GOOS=linux CGO_ENABLED=0"


def problem_of(data: bytes, machine: str = "") -> str:
    """What keeps it from running on `machine` (this one's kind by default); empty: nothing that can be seen."""
    wanted, wanted_name = _MACHINES.get((machine or platform.machine()).lower(), (0, ""))
    if data[:4] != b"\x7fELF":
        return f"Must be a 64-bit Linux program (ELF); {_BUILD_IT}."
    if data[4:5] != b"\x02" or data[5:6] != b"\x01":
        return f"Is an ELF file, but not a 64-bit little-endian one; {_BUILD_IT}."
    if len(data) < _HEADER.size:
        return "Is cut off: its ELF header is not whole."
    _, kind, found, _, _, segments_at, sections_at, _, _, segment_bytes, segments, section_bytes, sections, _ = (
        _HEADER.unpack_from(data)
    )
    if kind not in (_EXECUTABLE, _SHARED):
        return f"Is an ELF file, but not a program; {_BUILD_IT}."
    if wanted and found != wanted:
        name = _NAMES.get(found, f"machine {found}")
        return f"Is for {name}; functions here run on {wanted_name}. Set GOARCH when you build it."
    if not segments or segment_bytes != _SEGMENT.size:
        return "Has no segments to load: it is no program."
    if max(segments_at + segments * segment_bytes, sections_at + sections * section_bytes) > len(data):
        return "Is cut off: a part that its header names is missing."
    for number in range(segments):
        what, _, at, _, _, size, _, _ = _SEGMENT.unpack_from(data, segments_at + number * segment_bytes)
        if what == _LOADED and at + size > len(data):
            return "Is cut off: a part that its header names is missing."
    return ""


def packed(data: bytes) -> bytes:
    """The artifact of such a program. One that was linked with our shim, as `POST /compile` answers with it, is a
    handler; any other gets its event on stdin."""
    shim = _SHIM.search(data)
    told = {"form": "handler", "abi": int(shim[1])} if shim else {"form": "program"}
    return tar_of({"main": data, MANIFEST: json.dumps(told).encode()}, frozenset({"main"}))
