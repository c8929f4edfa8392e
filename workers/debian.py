"""A Debian base image made from this machine's own apt mirror, for where no image registry can be reached.

Mirrors, proxy and the like are asked of apt and go into the local base image only; nothing is written down here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

LineSink = Callable[[str], None]

_DEBIAN_RELEASE = re.compile(
    r"^(?P<suite>bookworm|trixie|forky|sid|oldstable|stable|testing|unstable)(?P<part>-updates|-security)?$"
)
_ROLLING = frozenset({"sid", "unstable"})
"""Suites that have no -updates or -security."""
_PASSED_ON = re.compile(r"^Acquire::(https?::|Check-|Retries|ForceIPv)", re.IGNORECASE)
"""apt settings that say how this machine reaches its mirror."""
_UNREAD = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
_MERGED_USR = Path("/usr/share/mmdebstrap/hooks/maybe-merged-usr")
"""Without this hook apt merges /usr by means of a package that brings all of Perl."""
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
INSTALL_HINT = (
    "no registry answered and mmdebstrap is not installed: connect to a registry, "
    "or run `apt-get install -y --no-install-recommends mmdebstrap`"
)


class BaseImageError(Exception):
    """The base could not be made; the message says what to do."""


def make_base(suite: str, tar: Path, on_line: LineSink) -> None:
    """Write a minimal root of Debian `suite` (essential packages and apt) to `tar`. Raises BaseImageError."""
    if shutil.which("mmdebstrap") is None:
        raise BaseImageError(INSTALL_HINT)
    command = mmdebstrap_command(suite, tar, sources_for(suite, _apt_targets()), passed_on(_apt_settings()))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    said: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        said = [*said[-20:], line.rstrip()]
        on_line(line.rstrip())
    if process.wait() != 0:
        raise BaseImageError(f"mmdebstrap could not make debian:{suite}:\n" + "\n".join(said))


def sources_for(suite: str, targets: Iterable[str]) -> list[str]:
    """One-line sources of `suite` from the mirrors that apt uses for whichever suite of Debian this machine is on.

    `targets`: lines of ``URI RELEASE COMPONENT``. Empty where apt has no mirror of Debian (another distribution):
    mmdebstrap then uses its own default.
    """
    sources: dict[str, None] = {}
    for line in targets:
        uri, release, component = [*line.split(), "", "", ""][:3]
        match = _DEBIAN_RELEASE.match(release)
        if match is None or component != "main":
            continue
        part = match["part"] or ""
        if suite not in _ROLLING or not part:
            sources[f"deb {uri} {suite}{part} main"] = None
    if not any(line.split()[2] == suite for line in sources):
        return []
    return list(sources)


def passed_on(settings: Iterable[str]) -> list[str]:
    """Those lines of ``apt-config dump`` that apt inside the image needs too (proxy, checks), lists left out."""
    return [
        line.strip()
        for line in settings
        if _PASSED_ON.match(line) and not line.rstrip().endswith('"";') and ":: " not in line
    ]


def mmdebstrap_command(suite: str, tar: Path, sources: list[str], settings: list[str]) -> list[str]:
    """The whole command; pure."""
    command = ["mmdebstrap", "--variant=apt", "--components=main"]
    command += [f"--dpkgopt=path-exclude={path}" for path in _UNREAD]
    command += [f"--aptopt={line}" for line in settings]
    if _MERGED_USR.is_dir():
        command.append(f"--hook-dir={_MERGED_USR}")
    if any("https://" in line for line in sources):
        # Over TLS apt inside needs this machine's authorities, which may not be only the public ones.
        command += ["--include=ca-certificates", f"--customize-hook=copy-in {CA_BUNDLE} {CA_BUNDLE.parent}"]
    return [*command, suite, str(tar), *sources]


def _apt_targets() -> list[str]:
    return _lines(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    )


def _apt_settings() -> list[str]:
    return _lines(["apt-config", "dump", "Acquire"])


def _lines(command: list[str]) -> list[str]:
    """What the command prints; nothing where it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()
