"""Encryption at rest: Fernet (AES-128-CBC with HMAC-SHA256) from the `cryptography` package, several keys at once.

Keys come from `NIMBUS_SECRETS_KEY` (comma list, newest first), else from `var_dir`/secrets.key (one a line, newest
first), made on first use and readable by its owner only. The newest encrypts, all decrypt. Every ciphertext is bound to
the place it is for: one copied to another row does not decrypt there.
"""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from nimbus_project.config import config

KEY_FILE = "secrets.key"


class Undecryptable(Exception):
    """None of the keys opens it, or it belongs elsewhere."""


class Keyring:
    """The keys of one process. Thread-safe."""

    def __init__(self, given: str, path: Path) -> None:
        """`given`: comma list of keys, newest first; empty: those in the file. Raises ValueError for a bad key."""
        self._given = [key.strip() for key in given.split(",") if key.strip()]
        self._path = path
        self._lock = threading.Lock()
        self._loaded = self._load()

    def encrypt(self, text: str, place: str) -> bytes:
        """With the newest key."""
        return self._loaded.encrypt(_bound(text, place))

    def decrypt(self, token: bytes, place: str) -> str:
        """Raises Undecryptable."""
        try:
            return _unbound(self._loaded.decrypt(token), place)
        except InvalidToken:
            pass
        # Another process may have put a newer key into the file since this one read it.
        self.reload()
        try:
            return _unbound(self._loaded.decrypt(token), place)
        except InvalidToken as error:
            raise Undecryptable("None of the keys opens it. Is an older key missing in NIMBUS_SECRETS_KEY?") from error

    def reload(self) -> None:
        """Read the keys again."""
        with self._lock:
            self._loaded = self._load()

    def add_key(self) -> None:
        """Put a new key before those in the file. Raises ValueError when the keys come from the environment."""
        if self._given:
            raise ValueError("The keys come from NIMBUS_SECRETS_KEY: put a new one before them there.")
        with self._lock:
            _write(self._path, [_new_key(), *self._from_file()])
            self._loaded = self._load()

    def _load(self) -> MultiFernet:
        try:
            return MultiFernet([Fernet(key) for key in self._given or self._from_file()])
        except ValueError as error:
            raise ValueError(
                "NIMBUS_SECRETS_KEY (or the file secrets.key) must hold keys of 32 bytes in URL-safe base64."
            ) from error

    def _from_file(self) -> list[str]:
        if not self._path.exists():
            _make(self._path)
        return self._path.read_text().split()


def keyring() -> Keyring:
    """The one of this process, made on first use."""
    global _keyring
    with _keyring_lock:
        if _keyring is None:
            _keyring = Keyring(config().secrets_key, config().var_dir / KEY_FILE)
        return _keyring


_keyring: Keyring | None = None
_keyring_lock = threading.Lock()


def _bound(text: str, place: str) -> bytes:
    # A Fernet token has no associated data: the place is encrypted with the text, its length before it.
    where = place.encode()
    return len(where).to_bytes(2, "big") + where + text.encode()


def _unbound(data: bytes, place: str) -> str:
    size = int.from_bytes(data[:2], "big")
    if data[2 : 2 + size] != place.encode():
        raise Undecryptable("It was encrypted for another place.")
    return data[2 + size :].decode()


def _new_key() -> str:
    return Fernet.generate_key().decode()


def _make(path: Path) -> None:
    """The first key. Of two processes that start at once, one wins and the other uses its file."""
    draft = _draft(path, [_new_key()])
    try:
        # `link` fails when the name is taken and shows the file only whole: nobody ever reads half a key.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _write(path: Path, keys: list[str]) -> None:
    _draft(path, keys).replace(path)


def _draft(path: Path, keys: list[str]) -> Path:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("\n".join(keys) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return draft
