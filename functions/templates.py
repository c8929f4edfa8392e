"""Templates: the examples of one source file, ready to become functions. Read from `examples/`, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from functions import services
from functions.errors import TemplateNotFound
from functions.models import Function
from nimbus_project.config import ROOT

EXAMPLES = ROOT / "examples"
SETTINGS = "nimbus.json"
EVENT, EXPECTED = "event.json", "expected.json"
_NOT_SOURCE = frozenset({SETTINGS, EVENT, EXPECTED, "README.md"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A worked function: a folder of `examples/`."""

    name: str
    title: str
    description: str
    settings: Mapping[str, Any]
    """As a function is created with, but for its name and code."""
    files: Mapping[str, bytes]
    """The source, by path."""
    event: Any
    """A sample."""
    expected: Any
    """What the answer to it must have in it."""

    @property
    def is_template(self) -> bool:
        """One source file, which a person can start from."""
        return len(self.files) == 1

    @property
    def code(self) -> str:
        """Of a template."""
        (data,) = self.files.values()
        return data.decode()


@lru_cache(maxsize=1)
def examples() -> Mapping[str, Example]:
    """All, by name; none where the folder was not installed."""
    found = sorted(path.parent for path in EXAMPLES.glob(f"*/{SETTINGS}"))
    return {folder.name: _read(folder) for folder in found}


def templates() -> list[Example]:
    """By name."""
    return [example for example in examples().values() if example.is_template]


def function_from_template(*, template: str, name: str, **given: Any) -> Function:
    """A function of the caller's, from a template and what is given besides. Raises TemplateNotFound and what
    `services.function_create` does."""
    example = examples().get(template)
    if example is None or not example.is_template:
        raise TemplateNotFound("There is no template of this name. GET /api/v1/templates lists them.")
    values = {"description": example.description, **example.settings, **given}
    return services.function_create(name=name, code=example.code, **values)


def _read(folder: Path) -> Example:
    settings: dict[str, Any] = orjson.loads((folder / SETTINGS).read_bytes())
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return Example(
        name=folder.name,
        title=settings.pop("title"),
        description=settings.pop("description"),
        settings=settings,
        files={name: path.read_bytes() for name, path in names.items() if name not in _NOT_SOURCE},
        event=orjson.loads((folder / EVENT).read_bytes()),
        expected=orjson.loads((folder / EXPECTED).read_bytes()),
    )
