"""Building runtime images: skipped when up to date, rebuilt when changed, once for all builders, nothing left over."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from functions.runtimes import RUNTIMES, Runtime
from nimbus_project.config import ROOT
from workers import debian, images
from workers.debian import BaseImageError, make_base, mmdebstrap_command, passed_on, sources_for
from workers.drivers.docker import DockerImages
from workers.images import ImageError, LineSink, Progress, build_runtime

SMALL = Runtime("small", "small", "nimbus-test/runtime-small:1", ".txt", "a small image")
QUIET = Progress(quiet=True)
DOCKERFILE = "FROM debian:bookworm-slim\nLABEL nimbus.image=runtime nimbus.test=small\nCOPY runner/ /opt/nimbus/\n"


@pytest.fixture
def runner(engine: docker.APIClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The runner file of a runtime whose Dockerfile and folder are the test's own."""
    (tmp_path / "small.Dockerfile").write_text(DOCKERFILE)
    folder = tmp_path / "runners" / "small"
    folder.mkdir(parents=True)
    (folder / "runner.py").write_text("1")
    monkeypatch.setattr(images, "DOCKERFILES", tmp_path)
    monkeypatch.setattr(images, "RUNNERS", tmp_path / "runners")
    yield folder / "runner.py"
    if DockerImages().size_bytes(SMALL.image) is not None:
        engine.remove_image(SMALL.image, force=True)


def image_id(engine: docker.APIClient) -> str:
    return str(engine.inspect_image(SMALL.image)["Id"])


def untagged(engine: docker.APIClient) -> set[str]:
    """This module's images without a tag that no container needs; what others have left is not its business."""
    lost = set(engine.images(quiet=True, filters={"dangling": True, "label": ["nimbus.image", "nimbus.test=small"]}))
    return lost - {one["ImageID"] for one in engine.containers(all=True)}


@pytest.fixture
def lost_before(engine: docker.APIClient) -> set[str]:
    """Left by a run that was killed in the middle."""
    return untagged(engine)


def build(*, force: bool = False, progress: Progress = QUIET) -> images.Built:
    return build_runtime(SMALL, DockerImages(), force=force, progress=progress)


def test_an_up_to_date_image_is_left_alone(engine: docker.APIClient, runner: Path) -> None:
    assert build().action == "built"
    before = image_id(engine)
    again = build()
    assert again.action == "up-to-date"
    assert again.seconds < 1
    assert again.size_bytes > 0
    assert image_id(engine) == before


def test_a_changed_runner_rebuilds_and_leaves_no_untagged_image(
    engine: docker.APIClient, runner: Path, lost_before: set[str]
) -> None:
    build()
    before = image_id(engine)
    runner.write_text("2")
    assert build().action == "built"
    assert image_id(engine) != before
    with pytest.raises(docker.errors.ImageNotFound):
        engine.inspect_image(before)
    assert untagged(engine) == lost_before


def test_a_changed_dockerfile_rebuilds(
    engine: docker.APIClient, runner: Path, tmp_path: Path, lost_before: set[str]
) -> None:
    build()
    (tmp_path / "small.Dockerfile").write_text(DOCKERFILE + "ENV CHANGED=1\n")
    assert build().action == "built"
    assert untagged(engine) == lost_before


def test_bytecode_beside_the_runner_changes_nothing(runner: Path) -> None:
    build()
    (runner.parent / "__pycache__").mkdir()
    (runner.parent / "__pycache__" / "runner.cpython-311.pyc").write_bytes(b"x")
    assert build().action == "up-to-date"


def test_an_image_in_use_is_replaced_and_removed_later(engine: docker.APIClient, runner: Path) -> None:
    build()
    before = image_id(engine)
    container = engine.create_container(SMALL.image, command=["true"])["Id"]
    try:
        runner.write_text("2")
        assert build().action == "built"
        assert engine.inspect_image(before)["RepoTags"] == []
    finally:
        engine.remove_container(container)
    build()
    with pytest.raises(docker.errors.ImageNotFound):
        engine.inspect_image(before)


def test_force_builds_what_is_up_to_date(engine: docker.APIClient, runner: Path, lost_before: set[str]) -> None:
    build()
    before = image_id(engine)
    assert build(force=True).action == "built"
    assert image_id(engine) != before
    assert untagged(engine) == lost_before


def test_two_builders_at_once_build_once(engine: docker.APIClient, runner: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        done = [one.result() for one in [threads.submit(build), threads.submit(build)]]
    assert sorted(one.action for one in done) == ["built", "up-to-date"]


def test_a_failing_build_says_why_and_leaves_nothing(
    engine: docker.APIClient, runner: Path, tmp_path: Path, lost_before: set[str]
) -> None:
    (tmp_path / "small.Dockerfile").write_text(DOCKERFILE + "RUN echo what-went-wrong; exit 7\n")
    shown = io.StringIO()
    with pytest.raises(ImageError, match="what-went-wrong"):
        build(progress=Progress(shown))
    assert "failed" in shown.getvalue()
    assert DockerImages().size_bytes(SMALL.image) is None
    assert untagged(engine) == lost_before
    assert [one for one in engine.containers(all=True) if "what-went-wrong" in one["Command"]] == []


def test_progress_is_one_plain_line_per_step_where_there_is_no_terminal(runner: Path) -> None:
    shown = io.StringIO()
    build(progress=Progress(shown))
    build(progress=Progress(shown))
    lines = shown.getvalue().splitlines()
    assert [line.split("s  small", 1)[1].split() for line in lines] == [
        ["build", SMALL.image, "ok"],
        [SMALL.image, "up", "to", "date"],
    ]
    assert "\x1b" not in shown.getvalue()


def test_the_command_reports_as_json(engine: docker.APIClient) -> None:
    command = [sys.executable, "manage.py", "build_runtimes", "python3.11", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    (built,) = json.loads(done.stdout)
    assert built["runtime"] == "python3.11"
    assert built["image"] == RUNTIMES["python3.11"].image
    assert built["action"] == "up-to-date"
    assert built["seconds"] < 1


def test_the_command_names_the_runtimes_there_are(engine: docker.APIClient) -> None:
    command = [sys.executable, "manage.py", "build_runtimes", "cobol"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "cobol" in done.stderr
    assert "python3.11" in done.stderr


class FakeStore:
    """An engine with no image and no registry."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def label(self, tag: str, name: str) -> str | None:
        return None

    def size_bytes(self, tag: str) -> int | None:
        return None

    def pull(self, tag: str, on_line: LineSink) -> None:
        self.done.append(f"pull {tag}")
        raise ImageError("no such host")

    def load_root(self, tar: Path, tag: str) -> None:
        self.done.append(f"load {tag}")

    def build(self, tag: str, context: bytes, labels: dict[str, str], *, cached: bool, on_line: LineSink) -> None:
        self.done.append(f"build {tag}")

    def drop_untagged(self) -> int:
        return 0


@pytest.mark.parametrize(("name", "base"), [("python3.11", "debian:bookworm-slim"), ("nodejs20", "debian:trixie-slim")])
def test_without_a_registry_the_base_is_made(monkeypatch: pytest.MonkeyPatch, name: str, base: str) -> None:
    runtime = RUNTIMES[name]
    if name == "nodejs20":
        monkeypatch.setattr(
            images, "image_sources", lambda _: {"Dockerfile": (images.DOCKERFILES / "node.Dockerfile").read_bytes()}
        )
    made: list[str] = []
    monkeypatch.setattr(images, "make_base", lambda suite, tar, on_line: made.append(f"debian:{suite}-slim"))
    store = FakeStore()
    assert build_runtime(runtime, store, force=False, progress=QUIET).base == "made"
    assert store.done == [f"pull {base}", f"load {base}", f"build {runtime.image}"]
    assert made == [base]


def test_without_a_registry_and_mmdebstrap_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian.shutil, "which", lambda name: None)
    with pytest.raises(ImageError, match=r"apt-get install .*mmdebstrap"):
        build_runtime(RUNTIMES["python3.11"], FakeStore(), force=False, progress=QUIET)
    with pytest.raises(BaseImageError):
        make_base("trixie", Path("/nowhere"), print)


TARGETS = [
    "http://mirror.example/debian/ bookworm main",
    "http://mirror.example/debian/ bookworm contrib",
    "http://mirror.example/debian/ bookworm-updates main",
    "http://mirror.example/security/ bookworm-security main",
    "https://elsewhere.example/tools/ nodistro main",
]


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_the_mirror_is_apts_own_whatever_the_suite(suite: str) -> None:
    assert sources_for(suite, TARGETS) == [
        f"deb http://mirror.example/debian/ {suite} main",
        f"deb http://mirror.example/debian/ {suite}-updates main",
        f"deb http://mirror.example/security/ {suite}-security main",
    ]


def test_where_apt_has_no_mirror_of_debian_mmdebstrap_decides() -> None:
    assert sources_for("trixie", ["http://archive.example/ubuntu/ noble main"]) == []
    assert mmdebstrap_command("trixie", Path("/t.tar"), [], [])[-2:] == ["trixie", "/t.tar"]


def test_apts_way_to_its_mirror_is_passed_on_and_nothing_else() -> None:
    settings = [
        'Acquire "";',
        'Acquire::http "";',
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Languages:: "none";',
        'Acquire::IndexTargets::deb::Packages::MetaKey "x";',
    ]
    assert passed_on(settings) == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::Check-Valid-Until "false";',
    ]


def test_a_mirror_over_tls_gets_this_machines_authorities() -> None:
    command = mmdebstrap_command("trixie", Path("/t.tar"), ["deb https://mirror.example/debian trixie main"], [])
    assert "--include=ca-certificates" in command
    assert any("ca-certificates.crt" in word for word in command if word.startswith("--customize-hook"))
