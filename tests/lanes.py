"""Two lanes for a run of all tests on more than one processor: real sandboxes and platforms in the one, file after file
as ever, all else beside them in the other."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

REAL = ("tests/docker/", "tests/acceptance/")
"""Folders whose tests start containers, platforms and load: two of them at once would be in each other's way."""


class Lanes(LoadScopeScheduling):
    """Of each lane a process runs a whole part: the real ones are one part, each other file is one."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        # The long part first: whoever is done with the rest can't take anything from it.
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return "real" if nodeid.startswith(REAL) else nodeid.partition("::")[0]
