"""What a wasm function is written in, when nobody says."""

from __future__ import annotations

import time

import pytest

from functions.models import PackageKind
from functions.packages import Upload, language_of
from nimbus_project.core.errors import InvalidRequest
from tests.projects import zip_of


def told(source: str, handler: str = "handler.main", asked: str = "") -> str:
    return language_of("wasm", handler, asked, Upload(PackageKind.SOURCE, source.encode()))


@pytest.mark.parametrize(
    "source",
    [
        'fn main() { println!("1"); }',
        "use std::io;\n\npub fn main() {}\n",
        '#[no_mangle]\npub extern "C" fn alloc(size: usize) -> *mut u8 { todo!() }',
        "//! int main(void) is C\nmod prices;\nfn main() {}",
        "fn print<T>(value: T) {}",
    ],
)
def test_rust(source: str) -> None:
    assert told(source) == "rust"


@pytest.mark.parametrize(
    "source",
    [
        '#include <stdio.h>\nint main(void) { puts("1"); }',
        "// fn main() -> is Rust\n#  include <stdio.h>\nint main(void) { return p->x; }",
        "int main(int argc, char **argv)\n{\n}",
        "static unsigned long fn (void);\nint main (void) { return fn (); }",
        "typedef unsigned long size_t;\nvoid *alloc(size_t size) { return 0; }",
        "uint64_t handle(const char *ptr, size_t len) { return 0; }",
        "#define ONE 1\n",
    ],
)
def test_c(source: str) -> None:
    assert told(source) == "c"


def test_what_is_asked_for_and_the_handlers_suffix_come_first() -> None:
    c = "#include <stdio.h>\nint main(void) {}"
    assert told(c, asked="rust") == "rust"
    assert told(c, handler="handler.rs") == "rust"
    assert told("fn main() {}", handler="handler.c") == "c"


def test_of_neither_it_is_asked() -> None:
    with pytest.raises(InvalidRequest) as raised:
        told("hello")
    assert raised.value.details == {"language": ["Say whether the source is rust or c."]}


def test_archives_and_modules() -> None:
    def of(kind: PackageKind, data: bytes) -> str:
        return language_of("wasm", "handler.main", "", Upload(kind, data))

    assert of(PackageKind.ARCHIVE, zip_of({"src/main.rs": "fn main() {}", "a.txt": ""})) == "rust"
    assert of(PackageKind.ARCHIVE, zip_of({"main.c": "int main(void) {}"})) == "c"
    assert of(PackageKind.BINARY, b"\0asm") == ""


@pytest.mark.parametrize("piece", ["/*", "int ", "int *", "fn ", "#", "struct a ", " ", "\n int"])
def test_no_source_takes_long(piece: str) -> None:
    """As long as one may be: bounded by what a reader would wait, not by its square."""
    began = time.process_time()
    try:
        told(piece * (512 * 1024 // len(piece)))
    except InvalidRequest:
        pass
    assert time.process_time() - began < 2
