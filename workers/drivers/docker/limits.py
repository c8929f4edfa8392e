"""What a container may have. Pure: no engine is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nimbus_project.config import MIB, Config

EGRESS_NETWORK = "nimbus-egress"
"""Name of the network and of its bridge."""
RUNNER_UID = 65532
SOCKET_FOLDER = "/run/nimbus"
SOCKET_NAME = "runner.sock"


def container_limits(settings: Config, memory_mb: int, network: str, folder: Path) -> dict[str, Any]:
    """What a container may have, as the engine's host configuration takes it. Pure."""
    tmpfs = f"rw,exec,nosuid,nodev,size={settings.sandbox_tmp_mb}m,nr_inodes=16384"
    limits: dict[str, Any] = {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": {
            "/tmp": f"{tmpfs},mode=1777",
            "/var/task": f"{tmpfs},mode=0755,uid={RUNNER_UID},gid={RUNNER_UID}",
        },
        "binds": {str(folder): {"bind": SOCKET_FOLDER, "mode": "ro"}},
        "mem_limit": memory_mb * MIB,
        "memswap_limit": memory_mb * MIB,
        "nano_cpus": int(settings.sandbox_cpus * 1e9),
        "cpu_shares": 512,  # half of what the platform's own processes get when all want the CPU
        "pids_limit": settings.sandbox_pids,
        "ipc_mode": "private",
        "shm_size": 16 * MIB,
        "oom_score_adj": 500,  # where the machine itself runs short, a sandbox goes before the platform
        "ulimits": [
            {"name": "nofile", "soft": 1024, "hard": 1024},
            {"name": "core", "soft": 0, "hard": 0},
        ],
        "log_config": {"type": "none", "config": {}},
        "network_mode": EGRESS_NETWORK if network == "egress" else "none",
    }
    if network != "egress":
        limits |= {"dns": ["127.0.0.1"], "dns_search": ["."]}  # else the host's resolver would be written inside
    return limits
