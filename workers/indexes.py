"""Where packages come from: what this machine's own pip and npm are set up with, handed on to builders.

The operator's business, never a function's: settings, authorities, proxies and local folders of wheels are read here,
once per process, and given to a builder as environment variables. Nothing of it is written down in the repository.
"""

from __future__ import annotations

import ast
import configparser
import re
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from nimbus_project.config import Config
from workers.npm import find_npm

_PIP_LISTS = ("extra-index-url", "find-links", "trusted-host", "constraint")
_PIP_PATHS = ("cert", "client-cert")
_PIP_PLAIN = ("index-url", "no-index", "proxy", "timeout", "retries")
_PIP_ALSO_CALLED = {"default-timeout": "timeout"}
_NPM_PATHS = ("cafile",)
_NPM_PLAIN = ("registry", "proxy", "https-proxy", "noproxy", "strict-ssl")
_UNSET = frozenset({"", "null", "undefined"})
_ASK_SEC = 60


class Place(Protocol):
    """Puts what lies on this machine where the builder sees it."""

    def path(self, path: Path) -> str:
        """Where the builder has this file or folder."""

    def text(self, name: str, text: str) -> str:
        """Where the builder has a new file with this text."""


def index_environment(toolchain: str, settings: Config, place: Place) -> dict[str, str]:
    """The builder's environment, for a job that fetches dependencies."""
    found = {f"{scheme}_proxy": url for scheme, url in getproxies().items() if scheme in ("http", "https", "no")}
    authorities = _authorities()
    match toolchain:
        case "python":
            found |= _pip_environment(_pip_values(settings.pip_config_file), place)
            if authorities is not None and "PIP_CERT" not in found:
                found["PIP_CERT"] = place.path(authorities)
        case "node":
            values, lines = _npm_values(settings.npm_config_file)
            found |= _npm_environment(values, place)
            found["npm_config_userconfig"] = place.text("npmrc", lines)
            if authorities is not None and "npm_config_cafile" not in found:
                found["npm_config_cafile"] = place.path(authorities)
        case "go":
            found["GOPROXY"] = _go_proxies(settings.go_proxy, place) or "default"
            if authorities is not None:
                found["SSL_CERT_FILE"] = place.path(authorities)
        case _ if authorities is not None:
            found["SSL_CERT_FILE"] = place.path(authorities)
    return found


def _authorities() -> Path | None:
    """The bundle that programs on this machine trust, where it is one file."""
    named = ssl.get_default_verify_paths().cafile
    candidates = [Path(named)] if named else []
    candidates += [Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt")]
    return next((path for path in candidates if path.is_file()), None)


def _go_proxies(listed: str, place: Place) -> str:
    """The list with folders of this machine as the builder has them."""
    parts = re.split("([,|])", listed)
    return "".join(_go_folder(part, place) if part.startswith("file:") else part for part in parts)


def _go_folder(address: str, place: Place) -> str:
    path = Path(unquote(urlsplit(address).path))
    return f"file://{place.path(path)}" if path.is_dir() else address


# -- pip


def _pip_environment(values: Mapping[str, str], place: Place) -> dict[str, str]:
    found = {}
    for name, value in values.items():
        if name in _PIP_LISTS:
            value = " ".join(_placed(one, place) for one in value.split())
        elif name in _PIP_PATHS or name == "index-url":
            value = _placed(value.strip(), place)
        elif name not in _PIP_PLAIN:
            continue
        if value:
            found[f"PIP_{name.upper().replace('-', '_')}"] = value
    # Nothing but what is here counts: neither the builder's image nor its user has settings of its own.
    return found | {"PIP_CONFIG_FILE": "/dev/null"}


def _placed(location: str, place: Place) -> str:
    """A folder, file or file:// address of this machine as the builder has it; what is gone is left out."""
    if location.startswith("file:"):
        path = Path(unquote(urlsplit(location).path))
        # The pages of a simple index refer to files beside it.
        return f"file://{place.path(path.parent)}/{path.name}" if path.is_dir() else ""
    path = Path(location)
    if path.is_absolute():
        return place.path(path) if path.exists() else ""
    return location


@lru_cache(maxsize=4)
def _pip_values(config_file: Path | None) -> dict[str, str]:
    """Of the given file, else what pip here says that it uses: later places win."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    if config_file is not None:
        parser = configparser.RawConfigParser()
        parser.read(config_file)
        for section in parser.sections():
            found.setdefault(section, {}).update(parser[section])
    else:
        for line in _said([sys.executable, "-m", "pip", "config", "list"]):
            name, _, value = line.partition("=")
            section, _, key = name.partition(".")
            if value and section in found:
                found[section][key] = str(ast.literal_eval(value))
    merged = found["global"] | found["install"] | found[":env:"]
    return {_PIP_ALSO_CALLED.get(name, name): value for name, value in merged.items()}


# -- npm


def _npm_environment(values: Mapping[str, str], place: Place) -> dict[str, str]:
    found = {}
    for name, value in values.items():
        if name in _NPM_PATHS and value not in _UNSET and Path(value).is_file():
            value = place.path(Path(value))
        elif name not in _NPM_PLAIN:
            continue
        if value not in _UNSET:
            found[f"npm_config_{name.replace('-', '_')}"] = value
    return found


@lru_cache(maxsize=4)
def _npm_values(config_file: Path | None) -> tuple[dict[str, str], str]:
    """Settings, and the lines about scopes and credentials, of the given file, else of those that npm here uses."""
    if config_file is not None:
        return _read_npmrc(config_file)
    npm = find_npm()
    asked = [*_NPM_PLAIN, *_NPM_PATHS, "userconfig", "globalconfig"]
    answer = _said([*npm, "config", "get", *asked]) if npm else []
    values = dict(line.split("=", 1) for line in answer if "=" in line)
    lines = ""
    for path in (values.pop("globalconfig", ""), values.pop("userconfig", str(Path.home() / ".npmrc"))):
        more, own_lines = _read_npmrc(Path(path))
        values = more | values
        lines += own_lines
    return values, lines


def _read_npmrc(path: Path) -> tuple[dict[str, str], str]:
    if not path.is_file():
        return {}, ""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    values = {}
    for line in lines:
        name, equals, value = (part.strip() for part in line.partition("="))
        if equals and not line.startswith((";", "#", "@", "/")):
            values[name] = value.strip("\"'")
    return values, "".join(f"{line}\n" for line in lines if line.startswith(("@", "//")))


def _said(command: list[str]) -> list[str]:
    """What a program prints; nothing where it fails. In an empty folder: a project's settings are none of ours."""
    with tempfile.TemporaryDirectory(prefix="nimbus-ask-") as folder:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_ASK_SEC,
                check=True,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError):
            return []
    return done.stdout.splitlines()
