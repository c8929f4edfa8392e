"""`.env.example` lists every setting, and shows the defaults that hold."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from nimbus_project.config import ROOT, Config

# Their defaults are this machine's own: its name, its folders.
OWN_TO_THE_MACHINE = {"NIMBUS_NODE", "NIMBUS_VAR_DIR", "PROMETHEUS_MULTIPROC_DIR"}


def variable(name: str, field: FieldInfo) -> str:
    choices = getattr(field.validation_alias, "choices", None)
    return str(choices[0]) if choices else f"NIMBUS_{name.upper()}"


def listed() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^# ([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_every_setting_is_listed_once_and_nothing_else() -> None:
    text = (ROOT / ".env.example").read_text()
    names = re.findall(r"^#? ?([A-Z][A-Z_]+)=", text, re.MULTILINE)
    assert sorted(names) == sorted(variable(name, field) for name, field in Config.model_fields.items())


def test_nothing_is_set() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_the_defaults_shown_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in listed().items():
        if name not in OWN_TO_THE_MACHINE:
            monkeypatch.setenv(name, value)
    shown = Config()
    for name, field in Config.model_fields.items():
        if variable(name, field) not in OWN_TO_THE_MACHINE:
            value: Any = getattr(shown, name)
            assert value == field.default, f"{variable(name, field)} in .env.example"
