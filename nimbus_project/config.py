"""Every setting of Nimbus: typed, range-checked, read from the environment here and nowhere else.

`NIMBUS_PORT=9000` sets `port`. `DATABASE_URL` keeps its customary name. A wrong value stops the start with a
sentence that names the variable.
"""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent

MIB = 1024 * 1024
_MAPPED_BITS = 96
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
EVERYWHERE = frozenset({"", "0.0.0.0", "::"})
"""Where one can listen, and nobody can call."""


class Config(BaseSettings):
    """One value per knob; the default suits `make run` on a laptop."""

    model_config = SettingsConfigDict(env_prefix="NIMBUS_", extra="ignore", frozen=True, populate_by_name=True)

    # -- the web process
    host: str = "127.0.0.1"
    """Elsewhere than on loopback, every request needs an API key or a session."""
    port: int = Field(8080, ge=1, le=65535)
    allowed_hosts: str = ""
    """More `Host` names to answer to, comma separated; loopback's are always there."""
    require_keys: bool = False
    """Also on loopback."""
    public_url: str = ""
    """Where clients reach this platform, such as https://nimbus.example.org: what addresses that are shown begin with.
    Empty: http://localhost and the port."""
    route_hosts: str = ""
    """`Host` names, comma separated, at which custom routes and webhooks are answered and nothing else is; elsewhere
    custom routes are not answered then. For functions that serve pages, apart from the console's cookies."""
    trusted_proxies: str = ""
    """Addresses or networks (CIDR), comma separated, whose `X-Forwarded-For` is believed."""
    rate_limit_per_min: int = Field(1_200_000, ge=0)
    """Requests of one API key in any 60 s, over all web processes; 0: no limit."""
    rate_limit_address_per_min: int = Field(1_200_000, ge=0)
    """The same of one client address; 0: no limit."""
    debug: bool = False
    secret_key: str = ""
    """Django's SECRET_KEY; made and kept in `var/secret_key` when empty."""
    secrets_key: str = Field("", repr=False)
    """Keys that encrypt secrets at rest, comma separated, newest first (32 bytes in URL-safe base64, as
    `cryptography.fernet.Fernet.generate_key()` makes them); made and kept in `var/secrets.key` when empty."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    # -- what stands below
    var_dir: Path = ROOT / "var"
    """State of this node: SQLite, sockets, keys, files. Made when missing."""
    database_url: str = Field("", validation_alias=AliasChoices("DATABASE_URL", "NIMBUS_DATABASE_URL"))
    """Empty: SQLite in WAL mode under `var_dir`."""
    redis_url: str = ""
    """Empty: the embedded Redis that `runplatform` starts on `var_dir`/redis.sock."""

    storage_url: str = Field("", repr=False)
    """Where uploads and artifacts lie: empty for `var_dir`/files, else ``s3://bucket/folder?endpoint=https://…``, which
    every node reaches (needs requirements-s3.txt)."""

    # -- limits of the API
    max_event_bytes: int = Field(6 * MIB, ge=1024, le=15 * MIB)
    max_result_bytes: int = Field(6 * MIB, ge=1024, le=15 * MIB)
    kept_payload_bytes: int = Field(256 * 1024, ge=0)
    """A synchronous call's event or result that is larger is not kept with its invocation, only its size: such a call
    can't be replayed. Results of calls with an Idempotency-Key, and queued events, are always kept."""
    max_request_bytes: int = Field(72 * MIB, ge=1024)
    """Body of any other API call: room for a 50 MiB archive as base64."""
    max_log_bytes: int = Field(256 * 1024, ge=1024, le=4 * MIB)
    """Of one invocation; the rest is dropped with a note."""
    max_waiting_calls: int = Field(1000, ge=1)
    """Synchronous calls one web process holds at once; more get 503."""
    queue_wait_sec: float = Field(30.0, gt=0)
    """How long a synchronous call may wait for a worker before it gets 503."""

    # -- the direct lane, between web processes and workers
    direct_listen: str = ""
    """``host:port`` (port 0: any) where a worker also takes calls from other nodes; empty: of its own node only."""
    direct_advertise: str = Field("", validate_default=True)
    """``host`` or ``host:port`` by which other nodes reach it, where that is not the one that it listens at: needed
    with 0.0.0.0 or [::], which is no address to call, and behind a translation of addresses."""
    direct_backlog: int = Field(1000, ge=0)
    """Calls one worker holds on the direct lane, running or waiting for a sandbox; more go by the queue. 0: all do."""
    direct_tls_ca: Path | None = None
    """PEM files of the operator's own authority and of this node: between nodes both ends show a certificate. Without
    them nothing is listened to and no other node is called."""
    direct_tls_cert: Path | None = None
    direct_tls_key: Path | None = None

    # -- workers and sandboxes
    node: str = Field(default_factory=socket.gethostname)
    worker_threads: int = Field(24, ge=2, le=512)
    """Invocations one worker process runs at once."""
    worker_async_share: float = Field(0.75, gt=0, le=1)
    """Part of the threads that queued (async) work may fill; the rest is kept for callers who wait."""
    sandbox_driver: Literal["auto", "docker", "process"] = "auto"
    pool_memory_mb: int = Field(8192, ge=256)
    """Sum of the memory limits of one worker's sandboxes."""
    pool_max_sandboxes: int = Field(64, ge=1, le=1000)
    pool_idle_sec: float = Field(600.0, gt=0)
    """A warm sandbox unused for so long is removed."""
    pool_boot_parallel: int = Field(2, ge=1, le=16)
    """Sandboxes booted at once; more slow each other down."""
    prewarm_python: int = Field(2, ge=0, le=32)
    prewarm_node: int = Field(1, ge=0, le=32)
    prewarm_go: int = Field(1, ge=0, le=32)
    prewarm_wasm: int = Field(1, ge=0, le=32)
    prewarm_memory_mb: int = Field(256, ge=128)
    boot_timeout_sec: float = Field(60.0, gt=0)
    load_timeout_sec: float = Field(10.0, gt=0)
    """For the user's imports; a function's own shorter timeout wins."""
    allow_egress: bool = True
    """False: no function may have `network: egress`, and those that have it run without a network."""
    sandbox_cpus: float = Field(1.0, gt=0)
    sandbox_pids: int = Field(128, ge=8)
    sandbox_tmp_mb: int = Field(64, ge=1)
    drain_grace_sec: float = Field(25.0, ge=0)
    """How long a stopping worker lets running work finish before it gives it back."""

    # -- builds and artifacts
    build_parallel: int = Field(1, ge=1, le=16)
    """Builds one worker runs at once."""
    build_timeout_sec: float = Field(300.0, gt=0)
    build_memory_mb: int = Field(2048, ge=256)
    build_disk_mb: int = Field(1024, ge=64)
    build_network: Literal["egress", "host"] = "egress"
    """How builders reach package indexes: ``egress`` without this machine's own addresses, ``host`` as this machine
    does, for an index on this machine itself."""
    pip_config_file: Path | None = None
    """pip.conf for Python dependencies; empty: what this machine's pip uses."""
    npm_config_file: Path | None = None
    """.npmrc for Node.js dependencies; empty: what this machine's npm uses."""
    go_proxy: str = Field("", validation_alias=AliasChoices("NIMBUS_GO_PROXY", "GOPROXY"))
    """Where Go modules come from, in the words of Go's own GOPROXY; empty: Go's default; ``off``: from vendor/ only."""
    artifact_cache_mb: int = Field(2048, ge=64)
    """Unpacked artifacts that a node keeps."""

    # -- what goes out
    outgoing_allow: str = ""
    """Addresses or networks (CIDR), comma separated, that are not public and that URLs of users (alerts, destinations)
    may lead to all the same."""

    smtp_host: str = ""
    """The server that mail goes out by (alerts); empty: none is sent."""
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str = ""
    smtp_password: str = Field("", repr=False)
    smtp_from: str = "nimbus@localhost"
    """The sender of that mail."""

    # -- durable work
    lease_sec: float = Field(10.0, gt=1)
    """A running row whose worker has not renewed it for so long goes back to the queue."""
    sweep_interval_sec: float = Field(2.0, gt=0)

    # -- schedules
    cron_grace_sec: float = Field(30.0, ge=2, le=600)
    """Fire times that are late by no more are fired, each; from then on they count as missed, and the schedule's
    policy decides."""

    # -- retention: days that things are kept; 0: for ever
    retention_hour: int = Field(3, ge=0, le=23)
    """Of the day in UTC; it begins 17 minutes past."""
    retention_invocations_days: int = Field(30, ge=0)
    retention_logs_days: int = Field(14, ge=0)
    """Of invocations; never longer than these."""
    retention_dead_letters_days: int = Field(30, ge=0)
    retention_executions_days: int = Field(30, ge=0)
    """Executions of workflows with their steps, and definitions that nothing has any more."""
    retention_deliveries_days: int = Field(14, ge=0)
    """Of webhooks and events."""
    retention_events_days: int = Field(14, ge=0)
    """The archive of the event bus, which replays read."""
    retention_alerts_days: int = Field(90, ge=0)
    """History of alerts."""
    retention_fires_days: int = Field(14, ge=0)
    """History of schedules."""
    retention_audit_days: int = Field(365, ge=0)

    # -- tests and operations
    metrics_dir: Path | None = Field(None, validation_alias=AliasChoices("PROMETHEUS_MULTIPROC_DIR"))
    """Folder where the processes of this node share their metrics (prometheus_client's own variable)."""
    docker_image_prefix: str = ""
    """Put before the runtime images' tags, e.g. a registry of the operator's."""

    @field_validator(
        "pip_config_file", "npm_config_file", "direct_tls_ca", "direct_tls_cert", "direct_tls_key", mode="before"
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("trusted_proxies", "outgoing_allow")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for part in filter(None, (p.strip() for p in value.split(","))):
            try:
                network_of(part)
            except ValueError as error:
                raise ValueError(f"{part!r} is neither an address nor a network such as 10.0.0.0/8") from error
        return value

    @field_validator("direct_listen")
    @classmethod
    def _is_host_and_port(cls, value: str) -> str:
        if value:
            host_and_port(value)
        return value

    @field_validator("direct_advertise")
    @classmethod
    def _can_be_called(cls, value: str, others: ValidationInfo) -> str:
        listen = others.data.get("direct_listen", "")
        if value and host_and_port(value if _has_port(value) else f"{value}:0")[0] in EVERYWHERE:
            raise ValueError(f"{value!r} is no address that other nodes can call")
        if listen and not value and host_and_port(listen)[0] in EVERYWHERE:
            raise ValueError(f"NIMBUS_DIRECT_LISTEN={listen} is no address that other nodes can call: say which is")
        return value

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
            raise ValueError(f"{value!r} is no address such as https://nimbus.example.org")
        return value.rstrip("/")

    @property
    def public(self) -> str:
        """The beginning of addresses that are shown, without a slash at its end."""
        return self.public_url or f"http://localhost:{self.port}"

    @property
    def route_host_names(self) -> frozenset[str]:
        return frozenset(filter(None, (name.strip().lower() for name in self.route_hosts.split(","))))

    def direct_address(self, port: int) -> str:
        """``host:port`` where other nodes reach a worker that has this port of `direct_listen`."""
        told = self.direct_advertise
        if _has_port(told):
            return told
        return f"{told or self.direct_listen.rpartition(':')[0]}:{port}"

    @property
    def keys_required(self) -> bool:
        """False: embedded mode, where loopback is let in without a key."""
        return self.require_keys or self.host not in LOOPBACK

    @property
    def trusted_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return _networks(self.trusted_proxies)

    @property
    def outgoing_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return _networks(self.outgoing_allow)

    @property
    def redis(self) -> str:
        """The URL every part uses."""
        return self.redis_url or f"unix://{self.var_dir / 'redis.sock'}"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.var_dir / 'nimbus.sqlite3'}"


def _has_port(text: str) -> bool:
    return ":" in text and not text.endswith("]")


def host_and_port(text: str) -> tuple[str, int]:
    """Of ``host:port``, an IPv6 address in brackets and without them in the answer. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    in_brackets = host.startswith("[") and host.endswith("]")
    if not (colon and port.isascii() and port.isdigit() and int(port) < 65536) or (":" in host and not in_brackets):
        raise ValueError(f"{text!r} is not host:port, such as 10.0.0.11:0 or [2001:db8::11]:7400")
    return host.strip("[]"), int(port)


def network_of(text: str) -> IPv4Network | IPv6Network:
    """An address or network (CIDR); ``::ffff:10.0.0.0/104`` is 10.0.0.0/8, for such addresses count as IPv4 wherever a
    caller's is looked at. Raises ValueError."""
    network = ip_network(text, strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(network_of(part) for part in filter(None, (p.strip() for p in text.split(","))))


@lru_cache(maxsize=1)
def config() -> Config:
    """The one instance of this process."""
    return Config()
