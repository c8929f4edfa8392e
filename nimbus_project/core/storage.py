"""NIMBUS_STORAGE_URL -> Django's STORAGES: where uploads and artifacts lie.

(empty)                                     files below `var_dir`
s3://bucket/folder                          AWS, with the credentials that boto3 finds by itself
s3://key:secret@bucket?endpoint=https://…   any S3-compatible store; also region=…, addressing=path|virtual|auto,
                                            verify=/path/to/ca.pem
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

STATIC = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
FILES = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
_OPTIONS = {"endpoint": "endpoint_url", "region": "region_name", "addressing": "addressing_style", "verify": "verify"}
_ADDRESSING = ("auto", "virtual", "path")


def storages(url: str) -> dict[str, Any]:
    """Raises ValueError with a sentence that says what is wrong or missing."""
    if not url:
        return {"default": FILES, "staticfiles": STATIC}
    if find_spec("storages") is None or find_spec("boto3") is None:
        raise ValueError("NIMBUS_STORAGE_URL needs more packages: pip install -r requirements-s3.txt")
    default = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": s3_options(url)}
    return {"default": default, "staticfiles": STATIC}


def s3_options(url: str) -> dict[str, Any]:
    """Of an s3:// URL, as django-storages calls them. Raises ValueError."""
    parts = urlsplit(url)
    bucket = parts.netloc.rpartition("@")[2]
    if parts.scheme != "s3" or not bucket:
        raise ValueError("NIMBUS_STORAGE_URL must be of the form s3://bucket/folder?endpoint=https://…")
    options: dict[str, Any] = {
        "bucket_name": bucket,
        "location": parts.path.strip("/"),
        # Names are hashes of contents: who writes the same name writes the same bytes.
        "file_overwrite": True,
        "default_acl": None,
    }
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS or not value:
            raise ValueError(f"NIMBUS_STORAGE_URL: {name} is not one of {', '.join(_OPTIONS)}, or is empty.")
        options[_OPTIONS[name]] = value
    if options.get("addressing_style", "auto") not in _ADDRESSING:
        raise ValueError(f"NIMBUS_STORAGE_URL: addressing must be one of {', '.join(_ADDRESSING)}.")
    if parts.username is not None:
        options["access_key"] = unquote(parts.username)
        options["secret_key"] = unquote(parts.password or "")
    return options
