"""docs/workflows.md: each definition in it can be used."""

from __future__ import annotations

import json
import re

from nimbus_project.config import ROOT
from workflows import definition
from workflows.states import StateType

_BLOCK = re.compile(r"^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_every_definition_is_one_and_every_type_of_state_is_shown() -> None:
    shown = [definition.parse(json.loads(one)) for one in _BLOCK.findall((ROOT / "docs/workflows.md").read_text())]
    assert {state.type for one in shown for state in one.states.values()} == set(StateType)
