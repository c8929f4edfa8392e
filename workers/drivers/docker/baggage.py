"""What a builder container is given of this machine's own files: small ones with its sources, folders read-only."""

from __future__ import annotations

from pathlib import Path

from docker.types import Mount

SOURCES = "/work/src"
"""Where a builder's program unpacks what comes by its stdin."""
CARRIED = ".nimbus-index"
FOLDERS = "/index"


class Baggage:
    """A `workers.indexes.Place`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """To be put among the sources."""
        self._folders: dict[Path, str] = {}

    def path(self, path: Path) -> str:
        """See `Place.path`. A folder is mounted, a file is a copy."""
        real = path.resolve()
        if real.is_dir():
            return self._folders.setdefault(real, f"{FOLDERS}/{len(self._folders)}")
        return self._carry(f"{len(self.files)}-{path.name}", real.read_bytes())

    def text(self, name: str, text: str) -> str:
        """See `Place.text`."""
        return self._carry(name, text.encode())

    @property
    def mounts(self) -> list[Mount]:
        return [Mount(inside, str(path), type="bind", read_only=True) for path, inside in self._folders.items()]

    def _carry(self, name: str, data: bytes) -> str:
        self.files[f"{CARRIED}/{name}"] = data
        return f"{SOURCES}/{CARRIED}/{name}"
