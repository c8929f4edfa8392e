"""Packet filter rules for sandboxes that may reach out: not the host, not link-local (cloud metadata).

Plain iptables, for bridges whatever engine made them. Needs root in the host's network namespace; where that
is not to be had, `protect` says in words what stays open.
"""

from __future__ import annotations

import shutil
import subprocess

_WAIT_SEC = "5"
_LINK_LOCAL = "169.254.0.0/16"
_RULES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("INPUT", (), "the host's own addresses"),
    ("DOCKER-USER", ("-d", _LINK_LOCAL), "link-local addresses such as a cloud's metadata service"),
)
"""Chain, what is matched besides the bridge, and what the rule keeps sandboxes from."""


def protect(bridge: str) -> list[str]:
    """Put this bridge's rules in place, unless they are. Returns what sandboxes can still reach; empty: nothing."""
    if shutil.which("iptables") is None:
        return [f"{what} (iptables is not installed)" for _, _, what in _RULES]
    gaps = []
    for chain, match, what in _RULES:
        rule = [chain, "-i", bridge, *match, "-j", "DROP"]
        if _iptables("-C", *rule) is not None:
            error = _iptables("-I", *rule)
            if error is not None:
                gaps.append(f"{what} ({error})")
    return gaps


def _iptables(*arguments: str) -> str | None:
    """None when it worked, else the last line it said."""
    command = ["iptables", "-w", _WAIT_SEC, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["iptables failed"])[-1]
