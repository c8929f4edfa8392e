"""A version's files in its sandbox's folder: merged in order, and never outside it."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from functions.spec import ArtifactKind, FunctionSpec, StoredFolder
from workers.artifacts import LEFT_AFTER_SEC, ArtifactCache
from workers.sandbox import SandboxError


class Store:
    """Folders by name, as storage has them."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def folder(self, files: dict[str, str], links: dict[str, str] | None = None) -> StoredFolder:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
            for name, target in (links or {}).items():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                tar.addfile(entry)
        sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
        self.kept[sha256] = buffer.getvalue()
        return StoredFolder(sha256, sha256)


def stage(tmp_path: Path, store: Store, runtime: str, *layers: StoredFolder) -> Path:
    """The folder `files` of a sandbox whose function has these layers."""
    cache = ArtifactCache(tmp_path / "cache", store.kept.__getitem__, max_bytes=1 << 20)
    spec = FunctionSpec(
        function_id="f", function_name="f", version=1, runtime=runtime, handler="handler.main", memory_mb=128,
        timeout_sec=3, artifact=b"x = 1\n", artifact_sha256="0", artifact_kind=ArtifactKind.SOURCE, layers=layers,
    )  # fmt: skip
    files = tmp_path / "sandbox" / "files"
    files.parent.mkdir(exist_ok=True)
    cache.stage(spec, files)
    return files


def test_a_later_layer_wins_file_by_file(tmp_path: Path) -> None:
    store = Store()
    first = store.folder({"python/a.py": "first", "python/b.py": "first"})
    second = store.folder({"python/b.py": "second", "nodejs/node_modules/c.js": "not Python's"})
    files = stage(tmp_path, store, "python3.11", first, second)
    assert (files / "task" / "handler.py").read_text() == "x = 1\n"
    found = {path.relative_to(files / "python").as_posix(): path.read_text() for path in (files / "python").iterdir()}
    assert found == {"a.py": "first", "b.py": "second"}


def test_node_has_its_own_folder(tmp_path: Path) -> None:
    store = Store()
    layer = store.folder({"nodejs/node_modules/a/index.js": "a", "python/b.py": "b"})
    files = stage(tmp_path, store, "nodejs20", layer)
    assert (files / "node_modules" / "a" / "index.js").read_text() == "a"
    assert not (files / "python").exists()


@pytest.mark.parametrize("order", ["file first", "folder first"])
def test_a_file_in_the_place_of_a_folder_is_replaced(tmp_path: Path, order: str) -> None:
    store = Store()
    file, folder = store.folder({"python/a": "file"}), store.folder({"python/a/b.py": "inside"})
    files = stage(tmp_path, store, "python3.11", *((file, folder) if order == "file first" else (folder, file)))
    if order == "file first":
        assert (files / "python" / "a" / "b.py").read_text() == "inside"
    else:
        assert (files / "python" / "a").read_text() == "file"


def test_a_link_of_an_earlier_layer_leads_nothing_astray(tmp_path: Path) -> None:
    store = Store()
    # Inside its own artifact this link is harmless; where it is staged it points above the sandbox's folder.
    first = store.folder({"other/x": ""}, links={"nodejs/node_modules/a": "../../other"})
    second = store.folder({"nodejs/node_modules/a/planted.js": "planted"})
    neighbour = tmp_path / "sandbox" / "other"
    neighbour.mkdir(parents=True)
    files = stage(tmp_path, store, "nodejs20", first, second)
    assert list(neighbour.iterdir()) == []
    assert (files / "node_modules" / "a" / "planted.js").read_text() == "planted"


def test_what_reaches_outside_is_not_unpacked(tmp_path: Path) -> None:
    from workers.sandbox import SandboxError

    store = Store()
    for wicked in (store.folder({"../outside": "x"}), store.folder({}, links={"python/a": "/etc"})):
        cache = ArtifactCache(tmp_path / "cache", store.kept.__getitem__, max_bytes=1 << 20)
        with pytest.raises(SandboxError):
            cache.folder_of(wicked)
    assert not (tmp_path / "outside").exists()
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    """The cache is bounded; what it has dropped is fetched again, and who has it already keeps it."""
    store = Store()
    folders = [store.folder({"python/a.py": f"{n}" * 100_000}) for n in range(4)]
    cache = ArtifactCache(tmp_path / "cache", store.kept.__getitem__, max_bytes=330_000)
    places = [cache.folder_of(folder) for folder in folders[:3]]
    for age, place in zip((30, 10, 20), places, strict=True):
        then = place.stat().st_mtime - age
        os.utime(place, (then, then))
    files = tmp_path / "sandbox"
    files.mkdir()
    os.link(places[0] / "python" / "a.py", files / "a.py")
    cache.folder_of(folders[3])
    assert [place.is_dir() for place in places] == [False, True, True]
    assert (files / "a.py").read_text() == "0" * 100_000
    assert (cache.folder_of(folders[0]) / "python" / "a.py").read_text() == "0" * 100_000


def test_a_worker_killed_while_it_makes_room_leaves_nothing_by_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    folders = [store.folder({"python/a.py": f"{n}" * 100_000, "python/b.py": "b"}) for n in range(2)]
    cache = ArtifactCache(tmp_path / "cache", store.kept.__getitem__, max_bytes=150_000)

    def killed(path: Path, **more: object) -> None:
        next(Path(path).rglob("b.py")).unlink()
        raise SystemExit

    first = cache.folder_of(folders[0])
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(SystemExit):
            cache.folder_of(folders[1])
    assert not first.exists()
    assert (cache.folder_of(folders[0]) / "python" / "b.py").read_text() == "b"


def test_what_killed_workers_have_left_goes_after_a_while(tmp_path: Path) -> None:
    store = Store()
    cache = ArtifactCache(tmp_path / "cache", store.kept.__getitem__, max_bytes=1 << 20)
    left = [tmp_path / "cache" / name for name in (".unpack-old", ".drop-old", ".unpack-new")]
    for folder in left:
        (folder / "python").mkdir(parents=True)
    for folder in left[:2]:
        then = folder.stat().st_mtime - 2 * LEFT_AFTER_SEC
        os.utime(folder, (then, then))
    cache.folder_of(store.folder({"python/a.py": "a"}))
    assert [folder.exists() for folder in left] == [False, False, True]


def test_many_ask_for_the_same_and_it_is_fetched_once(tmp_path: Path) -> None:
    store = Store()
    folder = store.folder({"python/a.py": "a"})
    fetched: list[str] = []
    both = threading.Barrier(4)

    def fetch(name: str) -> bytes:
        fetched.append(name)
        return store.kept[name]

    cache = ArtifactCache(tmp_path / "cache", fetch, max_bytes=1 << 20)

    def ask(_: int) -> Path:
        both.wait(10)
        return cache.folder_of(folder)

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(ask, range(4)))) == 1
    assert len(fetched) == 1


def test_what_can_not_be_fetched_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    def fetch(name: str) -> bytes:
        raise OSError("no such bucket")

    cache = ArtifactCache(tmp_path / "cache", fetch, max_bytes=1 << 20)
    with pytest.raises(SandboxError, match="no such bucket"):
        cache.folder_of(StoredFolder("0" * 64, "x"))
    damaged = ArtifactCache(tmp_path / "cache", lambda name: b"\x1f\x8b damaged", max_bytes=1 << 20)
    with pytest.raises(SandboxError, match="can't be fetched"):
        damaged.folder_of(StoredFolder("1" * 64, "x"))
    assert list((tmp_path / "cache").iterdir()) == []
