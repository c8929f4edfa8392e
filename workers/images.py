"""The images of runtimes and builders: what is in them, whether they are up to date, and how they are made.

An image carries the sha256 of its Dockerfile and our programs in it. The same digest: nothing to do. The base comes
from a registry when one answers at once, else from this machine's Debian mirror (`workers.debian`). What an image needs
of a package index is fetched here (`workers.wheels`): builds inside know of no index.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from rich.console import Console

from functions.runtimes import RUNTIMES, Runtime
from nimbus_project.config import ROOT, config
from workers.debian import BaseImageError, make_base
from workers.toolchain import TOOLCHAINS, builder_image
from workers.wheels import LIST_NAME, WheelError, fetch_wheels

LineSink = Callable[[str], None]

DIGEST_LABEL = "nimbus.source"
DOCKERFILES = ROOT / "deploy" / "runtimes"
RUNNERS = ROOT / "workers" / "runtimes"
BUILDER_DOCKERFILES = ROOT / "deploy" / "builders"
"""`<toolchain>.Dockerfile`, and beside it `<toolchain>/`: the builder's program."""

_FROM_DEBIAN = re.compile(r"^FROM\s+(debian:([a-z]+)-slim)\s*$", re.MULTILINE)


class ImageError(Exception):
    """An image could not be made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Builder:
    """The image that a toolchain's builds run in."""

    name: str
    """As `build_runtimes` takes it: ``builder-go``."""
    folder: str
    """The toolchain: ``go``."""
    image: str


Recipe = Runtime | Builder
"""What an image is made by."""

BUILDERS: dict[str, Builder] = {
    f"builder-{toolchain}": Builder(f"builder-{toolchain}", toolchain, builder_image(toolchain))
    for toolchain in TOOLCHAINS
}


class ImageStore(Protocol):
    """What the builder asks of an engine. Raises ImageError."""

    def label(self, tag: str, name: str) -> str | None:
        """A label of the image; None without such an image or label."""

    def size_bytes(self, tag: str) -> int | None:
        """None when there is no such image."""

    def pull(self, tag: str, on_line: LineSink) -> None:
        """Fetch it from a registry; gives up after a few seconds of silence."""

    def load_root(self, tar: Path, tag: str) -> None:
        """Make a one-layer image of a root file system."""

    def build(self, tag: str, context: bytes, labels: dict[str, str], *, cached: bool, on_line: LineSink) -> None:
        """Build a tar archive that holds a `Dockerfile`; the image that had the tag before goes."""

    def drop_untagged(self) -> int:
        """Remove Nimbus's own images that have lost their tag and that no container uses. The count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What became of one image."""

    runtime: str
    image: str
    action: Literal["built", "up-to-date"]
    base: Literal["present", "pulled", "made", ""]
    """Where the base came from; empty when nothing was built."""
    seconds: float
    size_bytes: int


class Progress:
    """One line per step with its elapsed time; on a terminal the running step is shown too."""

    def __init__(self, stream: IO[str] | None = None, *, quiet: bool = False) -> None:
        self._console = Console(file=stream, highlight=False, quiet=quiet, soft_wrap=True)

    @contextmanager
    def step(self, runtime: str, title: str) -> Iterator[LineSink]:
        """Time what is done inside; yields a sink for the lines of whatever tool does it."""
        began = time.monotonic()
        width = max(20, self._console.width - len(runtime) - len(title) - 12)
        mark = "[red]failed[/red]"
        with self._console.status(f"{runtime}  {title}") as status:
            try:
                yield lambda line: status.update(f"{runtime}  {title}  [dim]{line.strip()[:width]!r}[/dim]")
                mark = "[green]ok[/green]"
            finally:
                self.note(runtime, f"{title}  {mark}", time.monotonic() - began)

    def note(self, runtime: str, text: str, seconds: float) -> None:
        self._console.print(f"{seconds:7.1f} s  {runtime:<16}{text}")


def recipes() -> dict[str, Recipe]:
    """All that can be built, by name: the runtimes in the catalogue's order, then the builders."""
    every: dict[str, Recipe] = {**RUNTIMES, **BUILDERS}
    return {name: recipe for name, recipe in every.items() if _dockerfile(recipe).is_file()}


def image_tag(recipe: Recipe) -> str:
    """The image's full name on this installation."""
    return config().docker_image_prefix + recipe.image


def image_sources(recipe: Recipe) -> dict[str, bytes]:
    """What the image is made of, by path in the build context, sorted: ``runner/`` is the runner's folder, ``builder/``
    the builder's program. Raises ImageError."""
    dockerfile = _dockerfile(recipe)
    if not dockerfile.is_file():
        raise ImageError(f"{dockerfile} is missing")
    files = {"Dockerfile": dockerfile.read_bytes()}
    if isinstance(recipe, Builder):
        files |= _files_below(BUILDER_DOCKERFILES / recipe.folder, "builder")
    # A builder has them too: what it makes must fit the runner.
    runner = _files_below(RUNNERS / recipe.folder, "runner")
    if not runner and isinstance(recipe, Runtime):
        raise ImageError(f"{RUNNERS / recipe.folder} holds no runner")
    return files | runner


def _dockerfile(recipe: Recipe) -> Path:
    return (BUILDER_DOCKERFILES if isinstance(recipe, Builder) else DOCKERFILES) / f"{recipe.folder}.Dockerfile"


def _files_below(folder: Path, name: str) -> dict[str, bytes]:
    """By path, with `name` in place of the folder's; without what is hidden or compiled."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in inner.parts):
            found[f"{name}/{inner.as_posix()}"] = path.read_bytes()
    return found


def digest(sources: dict[str, bytes]) -> str:
    """sha256 over names and contents."""
    total = hashlib.sha256()
    for name, content in sources.items():
        total.update(f"{len(name)} {name} {len(content)} ".encode())
        total.update(content)
    return total.hexdigest()


def is_current(runtime: Recipe, store: ImageStore) -> bool:
    """Whether the image is there and was made of these sources."""
    return store.label(image_tag(runtime), DIGEST_LABEL) == digest(image_sources(runtime))


def build_runtimes(
    names: Iterable[str], store: ImageStore, *, force: bool = False, progress: Progress | None = None
) -> list[Built]:
    """Build these runtimes' and builders' images in this order. Raises ImageError at the first that can't be made."""
    shown = progress or Progress(quiet=True)
    every: dict[str, Recipe] = {**RUNTIMES, **BUILDERS}
    return [build_runtime(every[name], store, force=force, progress=shown) for name in names]


def build_runtime(runtime: Recipe, store: ImageStore, *, force: bool, progress: Progress) -> Built:
    """Make one image unless it is up to date. Of several builders at once one builds, the rest find it done.

    Raises ImageError. Images that have lost their tag are removed, also where the build fails.
    """
    began = time.monotonic()
    try:
        if not force and is_current(runtime, store):
            return _up_to_date(runtime, store, progress, began)
        with _only_builder(runtime, progress):
            if not force and is_current(runtime, store):
                return _up_to_date(runtime, store, progress, began)
            return _build(runtime, store, force, progress, began)
    finally:
        store.drop_untagged()


def _build(runtime: Recipe, store: ImageStore, force: bool, progress: Progress, began: float) -> Built:
    tag, sources = image_tag(runtime), image_sources(runtime)
    base = _ensure_base(runtime, sources["Dockerfile"].decode(), store, progress)
    with progress.step(runtime.name, f"build {tag}") as on_line:
        context = _tar(sources | _wheels(sources))
        store.build(tag, context, {DIGEST_LABEL: digest(sources)}, cached=not force, on_line=on_line)
    seconds = time.monotonic() - began
    size = store.size_bytes(tag) or 0
    return Built(runtime=runtime.name, image=tag, action="built", base=base, seconds=seconds, size_bytes=size)


def _wheels(sources: dict[str, bytes]) -> dict[str, bytes]:
    """What the lists among the sources ask for, as ``wheels/<file>``. The lists pin, so their digest covers it."""
    wanted = [content.decode() for name, content in sources.items() if name.endswith(f"/{LIST_NAME}")]
    try:
        return {f"wheels/{name}": data for name, data in fetch_wheels("\n".join(wanted)).items()} if wanted else {}
    except WheelError as error:
        raise ImageError(str(error)) from error


def _up_to_date(runtime: Recipe, store: ImageStore, progress: Progress, began: float) -> Built:
    tag = image_tag(runtime)
    seconds = time.monotonic() - began
    progress.note(runtime.name, f"{tag}  [green]up to date[/green]", seconds)
    size = store.size_bytes(tag) or 0
    return Built(runtime=runtime.name, image=tag, action="up-to-date", base="", seconds=seconds, size_bytes=size)


def _ensure_base(
    runtime: Recipe, dockerfile: str, store: ImageStore, progress: Progress
) -> Literal["present", "pulled", "made"]:
    match = _FROM_DEBIAN.search(dockerfile)
    if match is None:
        return "present"  # another base: the engine's build fetches it itself
    base, suite = match[1], match[2]
    if store.size_bytes(base) is not None:
        return "present"
    try:
        with progress.step(runtime.name, f"pull {base}") as on_line:
            store.pull(base, on_line)
        return "pulled"
    except ImageError:
        pass  # no registry: the mirror has the same packages
    with tempfile.TemporaryDirectory(prefix="nimbus-base-") as folder:
        tar = Path(folder) / "root.tar"
        try:
            with progress.step(runtime.name, f"no registry: make {base} from the Debian mirror") as on_line:
                make_base(suite, tar, on_line)
                store.load_root(tar, base)
        except BaseImageError as error:
            raise ImageError(str(error)) from error
    return "made"


@contextmanager
def _only_builder(runtime: Recipe, progress: Progress) -> Iterator[None]:
    """One process builds this image on this node at a time, whichever process it is in."""
    folder = config().var_dir / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / f"build-{runtime.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step(runtime.name, "another process is building it: wait"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tar(sources: dict[str, bytes]) -> bytes:
    """A build context: times are zero, so that the engine's cache sees the same files as the same."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in sources.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
