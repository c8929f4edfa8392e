"""NIMBUS_STORAGE_URL as Django's STORAGES."""

from __future__ import annotations

import pytest

from nimbus_project.core import storage
from nimbus_project.core.storage import s3_options, storages

FIXED = {"file_overwrite": True, "default_acl": None}


def test_files_below_the_folder_of_state_by_default() -> None:
    assert storages("")["default"]["BACKEND"] == "django.core.files.storage.FileSystemStorage"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://bucket", {"bucket_name": "bucket", "location": ""}),
        ("s3://bucket/a/b/", {"bucket_name": "bucket", "location": "a/b"}),
        (
            "s3://bucket?endpoint=https://store.example:9000&region=eu&addressing=path&verify=/ca.pem",
            {
                "bucket_name": "bucket",
                "location": "",
                "endpoint_url": "https://store.example:9000",
                "region_name": "eu",
                "addressing_style": "path",
                "verify": "/ca.pem",
            },
        ),
        (
            "s3://key:se%2Fcret@bucket/x",
            {"bucket_name": "bucket", "location": "x", "access_key": "key", "secret_key": "se/cret"},
        ),
    ],
)
def test_an_address_becomes_options(url: str, options: dict[str, object]) -> None:
    assert s3_options(url) == FIXED | options


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://", "must be of the form"),
        ("https://bucket", "must be of the form"),
        ("s3://bucket?endpont=https://x", "endpont is not one of"),
        ("s3://bucket?endpoint=", "endpoint"),
        ("s3://bucket?addressing=sideways", "addressing must be one of"),
    ],
)
def test_a_wrong_address_is_said(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        s3_options(url)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -r requirements-s3\.txt"):
        storages("s3://bucket")
    monkeypatch.setattr(storage, "find_spec", lambda name: object())
    assert storages("s3://bucket")["default"]["BACKEND"] == "storages.backends.s3.S3Storage"
