"""`network`: part of a version, and the operator's to forbid."""

from __future__ import annotations

import pytest

from functions import allowance, selectors
from functions.selectors import spec_get
from nimbus_project.config import Config
from tests.integration.plane import Api, refusal

pytestmark = pytest.mark.usefixtures("transactional_db")


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with NIMBUS_ALLOW_EGRESS=false, from now on."""
    settings = Config(allow_egress=False)
    for module in (allowance, selectors):
        monkeypatch.setattr(module, "config", lambda: settings)


def test_changing_it_makes_a_new_version(api: Api) -> None:
    made = api.create()
    assert (made["network"], made["version"]) == ("none", 1)
    changed = api.put("/functions/hello", {"network": "egress"}).json()
    assert (changed["network"], changed["version"]) == ("egress", 2)
    networks = [spec.network for n in (1, 2) if (spec := spec_get(made["id"], n)) is not None]
    assert networks == ["none", "egress"]
    refusal(api.put("/functions/hello", {"network": "host"}), 400)


def test_where_it_is_forbidden_it_is_refused_by_every_way(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create("old", network="egress")
    api.put("/functions/old", {"network": "none"})
    api.create("out", network="egress")
    exported = api.get("/functions/out/export").content
    forbid(monkeypatch)
    body = {"name": "new", "runtime": "python3.11", "handler": "a.b", "code": "b = 1\n", "network": "egress"}
    for answer in (
        api.post("/functions", body),
        api.put("/functions/old", {"network": "egress"}),
        api.post("/functions/old/versions/1/rollback"),
        api.post("/functions/out/clone", {"name": "copy"}),
    ):
        refusal(answer, 403, "egress_not_allowed")
    zipped = {"content-type": "application/zip"}
    result = api("POST", "/functions/import?on_conflict=rename", content=exported, headers=zipped).json()
    assert (result["imported"], len(result["failed"])) == ([], 1)
    assert api.put("/functions/out", {"network": "none"}).status_code == 200
    assert api.post("/functions", body | {"network": "none"}).status_code == 201


def test_where_it_is_forbidden_what_has_it_runs_without(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = api.create("out", network="egress")
    forbid(monkeypatch)
    spec = spec_get(made["id"], 1)
    assert spec is not None and spec.network == "none"
