"""Settings: their ranges, and the sentence about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from nimbus_project.config import Config, network_of

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("NIMBUS_") or name in {"DATABASE_URL", "PROMETHEUS_MULTIPROC_DIR"}:
            monkeypatch.delenv(name)


def test_the_defaults_suit_a_laptop() -> None:
    config = Config()
    assert (config.host, config.port, config.sandbox_driver) == ("127.0.0.1", 8080, "auto")
    assert config.database.startswith("sqlite:///")
    assert config.redis == f"unix://{config.var_dir}/redis.sock"


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("port", 1, 65535),
        ("max_event_bytes", 1024, 15 * MIB),
        ("max_result_bytes", 1024, 15 * MIB),
        ("max_request_bytes", 1024, None),
        ("max_log_bytes", 1024, 4 * MIB),
        ("max_waiting_calls", 1, None),
        ("worker_threads", 2, 512),
        ("worker_async_share", 0.01, 1),
        ("pool_memory_mb", 256, None),
        ("pool_max_sandboxes", 1, 1000),
        ("pool_boot_parallel", 1, 16),
        ("prewarm_python", 0, 32),
        ("prewarm_node", 0, 32),
        ("prewarm_memory_mb", 128, None),
        ("sandbox_pids", 8, None),
        ("sandbox_tmp_mb", 1, None),
        ("drain_grace_sec", 0, None),
        ("lease_sec", 1.1, None),
    ],
)
def test_a_range(name: str, lowest: float, highest: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"NIMBUS_{name.upper()}"
    for good in filter(lambda value: value is not None, (lowest, highest)):
        monkeypatch.setenv(variable, str(good))
        assert getattr(Config(), name) == good
    for bad in filter(lambda value: value is not None, (lowest - 1, None if highest is None else highest + 1)):
        monkeypatch.setenv(variable, str(bad))
        _refused(name)


@pytest.mark.parametrize("name", ["queue_wait_sec", "pool_idle_sec", "boot_timeout_sec", "load_timeout_sec",
                                  "sandbox_cpus", "sweep_interval_sec"])  # fmt: skip
def test_a_time_or_share_is_more_than_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in ("0", "-1", "soon", ""):
        monkeypatch.setenv(f"NIMBUS_{name.upper()}", bad)
        _refused(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "http"),
        ("debug", "perhaps"),
        ("log_level", "LOUD"),
        ("sandbox_driver", "podman"),
        ("worker_threads", "2.5"),
    ],
)
def test_a_value_of_the_wrong_kind(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"NIMBUS_{name.upper()}", value)
    _refused(name)


def _refused(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config()
    (error,) = caught.value.errors()
    assert error["loc"] in {(name,), (f"NIMBUS_{name.upper()}",)}
    assert error["msg"]


def test_other_names_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://h/d")
    assert Config().database == "postgres://h/d"


def test_state_goes_where_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NIMBUS_VAR_DIR", str(tmp_path))
    config = Config()
    assert config.redis == f"unix://{tmp_path}/redis.sock"
    assert config.database == f"sqlite:///{tmp_path}/nimbus.sqlite3"


@pytest.mark.parametrize(
    ("listen", "advertise", "announced"),
    [
        ("10.0.0.11:0", "", "10.0.0.11:7400"),
        ("[fd00::1]:0", "", "[fd00::1]:7400"),
        ("0.0.0.0:0", "node-1.internal", "node-1.internal:7400"),
        ("[::]:0", "[fd00::1]", "[fd00::1]:7400"),
        ("10.0.0.11:7400", "203.0.113.5:443", "203.0.113.5:443"),
        (":7400", "[fd00::1]:443", "[fd00::1]:443"),
    ],
)
def test_where_other_nodes_are_told_to_call(listen: str, advertise: str, announced: str) -> None:
    assert Config(direct_listen=listen, direct_advertise=advertise).direct_address(7400) == announced


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:7400", ":7400"])
@pytest.mark.parametrize("advertise", ["", "0.0.0.0", "[::]:7400", "fd00::1", "node-1:port", "node-1:99999"])
def test_an_address_that_nobody_can_call_is_not_announced(
    listen: str, advertise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIMBUS_DIRECT_LISTEN", listen)
    monkeypatch.setenv("NIMBUS_DIRECT_ADVERTISE", advertise)
    _refused("direct_advertise")


@pytest.mark.parametrize("listen", ["7400", "host", "host:", "host:-1", "host:65536", "fd00::1:7400"])
def test_a_place_to_listen_that_is_none(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIMBUS_DIRECT_LISTEN", listen)
    _refused("direct_listen")


def test_a_setting_is_read_only() -> None:
    with pytest.raises(ValidationError):
        Config().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:0:0/95", "::fffe:0:0/95"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::1", "::1/128"),
    ],
)
def test_networks_of_ipv4_written_as_ipv6_are_ipv4(written: str, meant: str) -> None:
    assert str(network_of(written)) == meant
