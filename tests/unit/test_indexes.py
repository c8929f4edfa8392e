"""Package indexes: the operator's settings as a builder gets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimbus_project.config import Config
from workers import indexes
from workers.drivers.docker.baggage import Baggage
from workers.indexes import index_environment


@pytest.fixture(autouse=True)
def _plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without proxies and authorities of its own."""
    monkeypatch.setattr(indexes, "getproxies", dict)
    monkeypatch.setattr(indexes, "_authorities", lambda: None)


def python_settings(tmp_path: Path, text: str) -> tuple[dict[str, str], Baggage]:
    file = tmp_path / "pip.conf"
    file.write_text(text)
    place = Baggage()
    return index_environment("python", Config(pip_config_file=file), place), place


def node_settings(tmp_path: Path, text: str) -> tuple[dict[str, str], Baggage]:
    file = tmp_path / "npmrc"
    file.write_text(text)
    place = Baggage()
    return index_environment("node", Config(npm_config_file=file), place), place


def test_addresses_are_handed_on(tmp_path: Path) -> None:
    text = "[global]\nindex-url = https://u:p@index.example/simple\ntimeout = 7\n[install]\nextra-index-url = https://b.example\n"
    found, place = python_settings(tmp_path, text)
    assert found == {
        "PIP_INDEX_URL": "https://u:p@index.example/simple",
        "PIP_TIMEOUT": "7",
        "PIP_EXTRA_INDEX_URL": "https://b.example",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    assert place.files == {} and place.mounts == []


def test_local_folders_are_mounted_and_files_are_copied(tmp_path: Path) -> None:
    (tmp_path / "index" / "simple").mkdir(parents=True)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "ca.pem").write_text("authorities")
    text = (
        f"[global]\nextra-index-url = file://{tmp_path}/index/simple https://b.example\n"
        f"find-links = {tmp_path}/wheels {tmp_path}/gone\ncert = {tmp_path}/ca.pem\n"
    )
    found, place = python_settings(tmp_path, text)
    mounted = {mount["Target"]: mount["Source"] for mount in place.mounts}
    # The whole index: its pages refer to files beside them.
    assert mounted == {"/index/0": str(tmp_path / "index"), "/index/1": str(tmp_path / "wheels")}
    assert all(mount["ReadOnly"] for mount in place.mounts)
    assert found["PIP_EXTRA_INDEX_URL"] == "file:///index/0/simple https://b.example"
    assert found["PIP_FIND_LINKS"].split() == ["/index/1"]
    ((name, data),) = place.files.items()
    assert data == b"authorities"
    assert found["PIP_CERT"].endswith(name)


def test_settings_that_say_nothing_of_where_are_left_out(tmp_path: Path) -> None:
    found, _ = python_settings(tmp_path, "[global]\ntarget = /etc\nuser = true\nno-binary = :all:\n")
    assert set(found) == {"PIP_CONFIG_FILE"}


def test_npm_has_its_registry_scopes_and_credentials(tmp_path: Path) -> None:
    lines = "@own:registry=https://own.example\n//own.example/:_authToken=secret\n"
    found, place = node_settings(tmp_path, f"; mine\nregistry = https://r.example/\nprefix=/etc\nproxy=null\n{lines}")
    assert found["npm_config_registry"] == "https://r.example/"
    assert set(found) == {"npm_config_registry", "npm_config_userconfig"}
    ((name, data),) = place.files.items()
    assert data.decode() == lines
    assert found["npm_config_userconfig"].endswith(name)


def test_proxies_and_authorities_of_the_machine_go_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("authorities")
    monkeypatch.setattr(indexes, "getproxies", lambda: {"https": "http://proxy.example:3128", "ftp": "x"})
    monkeypatch.setattr(indexes, "_authorities", lambda: bundle)
    python, _ = python_settings(tmp_path, "")
    node, _ = node_settings(tmp_path, "")
    assert python["https_proxy"] == node["https_proxy"] == "http://proxy.example:3128"
    assert "ftp_proxy" not in python
    assert "PIP_CERT" in python
    assert "npm_config_cafile" in node


def test_what_pip_says_of_itself_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["global.index-url='https://a.example'", ":env:.index-url='https://b.example'", "freeze.all='x'", "noise"]
    monkeypatch.setattr(indexes, "_said", lambda command: said)
    indexes._pip_values.cache_clear()
    try:
        assert index_environment("python", Config(), Baggage())["PIP_INDEX_URL"] == "https://b.example"
    finally:
        indexes._pip_values.cache_clear()
