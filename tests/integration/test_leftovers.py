"""Files in storage: there while a row names them, gone when none does, never half of one."""

from __future__ import annotations

import base64
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import connections, transaction
from django.utils import timezone

from functions import artifacts, leftovers, packages
from functions.leftovers import KEPT_FOR, Dropped
from functions.models import Artifact, Function, Layer, PackageKind
from functions.packages import Upload
from functions.spec import ArtifactKind
from nimbus_project.config import config
from nimbus_project.core.ids import new_id
from tests.integration.plane import Api
from tests.projects import as_archive, zip_of


@pytest.fixture(autouse=True)
def _nothing_before(api: Api) -> None:
    """What other tests have left."""
    Layer.objects.all().delete()
    leftovers.drop(timezone.now() + 2 * KEPT_FOR)
    assert files() == []


def files() -> list[str]:
    root = config().var_dir / "files"
    return sorted(path.relative_to(root).parts[0] for path in root.rglob("*") if path.is_file())


def source(number: int) -> dict[str, str]:
    return {"handler.py": f"def main(event):\n    return {number}\n"}


def create(api: Api, name: str, number: int) -> int:
    body = {"name": name, "runtime": "python3.11", "handler": "handler.main", "archive": as_archive(source(number))}
    return api.post("/functions", body).status_code


def test_what_is_named_stays_and_the_rest_goes(api: Api) -> None:
    assert create(api, "one", 1) == create(api, "two", 2) == 201
    assert create(api, "two", 3) == 409
    layer = {"name": "shared", "compatible_runtimes": ["python3.11"]}
    content = base64.b64encode(zip_of({"python/a.py": "A = 1\n"})).decode()
    assert api.post("/layers", layer | {"content": content}).status_code == 201
    assert leftovers.drop(timezone.now()) == Dropped(0, 1)
    assert files() == ["artifacts", "artifacts", "layers", "packages", "packages"]

    assert api("DELETE", "/functions/one").status_code == 204
    assert api("DELETE", "/layers/shared").status_code == 204
    # The artifact is kept for who deploys the same again.
    assert leftovers.drop(timezone.now()) == Dropped(0, 2)
    assert files() == ["artifacts", "artifacts", "packages"]
    assert leftovers.drop(timezone.now() + KEPT_FOR + timedelta(seconds=1)) == Dropped(1, 1)
    assert files() == ["artifacts", "packages"]
    (artifact,) = Artifact.objects.all()
    assert artifact.versions.get().function == Function.objects.get()
    assert create(api, "one", 1) == 201
    assert len(files()) == 4


def test_half_a_file_is_not_taken_for_a_whole_one(api: Api) -> None:
    """Its writer was killed; who stores the same next has all of it."""
    data = b"x" * 100_000
    with transaction.atomic():
        _, name = artifacts.keep(artifacts.ARTIFACTS, data)
    path = Path(default_storage.path(name))
    path.write_bytes(data[:5000])
    made = artifacts.record("k" * 64, ArtifactKind.TREE, data)
    assert artifacts.fetch(made.stored_as) == data
    assert leftovers.drop(timezone.now()) == Dropped(0, 0 if made.stored_as == name else 1)
    assert artifacts.fetch(made.stored_as) == data


def test_a_file_whose_row_is_being_made_stays(api: Api) -> None:
    """Stored, and its row not committed: a drop waits for the end of that transaction."""
    upload = Upload(PackageKind.ARCHIVE, zip_of(source(4)))
    stored, dropping, dropped = threading.Event(), threading.Event(), []

    def drop() -> None:
        try:
            stored.wait(30)
            dropping.set()
            dropped.append(leftovers.drop(timezone.now()))
        finally:
            connections.close_all()

    dropper = threading.Thread(target=drop)
    dropper.start()
    with transaction.atomic():
        package = packages.store(upload)
        stored.set()
        assert dropping.wait(30)
        dropper.join(0.3)
        assert dropper.is_alive(), "it did not wait"
    dropper.join(30)
    assert dropped == [Dropped(0, 0)]
    assert artifacts.fetch(package.stored_as) == upload.data


def test_nothing_stored_yet_is_nothing_to_drop(tmp_path: Path, api: Api, settings: object) -> None:
    settings.MEDIA_ROOT = str(tmp_path / str(new_id()))  # type: ignore[attr-defined]
    assert leftovers.drop(timezone.now()) == Dropped(0, 0)
