"""The Node builder: a tar with `package.json` on stdin, a gzipped tar with ``nodejs/node_modules/`` on stdout, npm's
log on stderr. Exits with 1 when npm could not install what is asked for.

With a lock file exactly what it says is installed. Install scripts of packages run: here, where they can do no harm.
Where packages come from is in the environment (npm_config_…), never in the sources.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from packing import artifact_stream, pack, unpack

WORK = Path(os.environ.get("NIMBUS_BUILD_DIR", "/work"))
NPM = shlex.split(os.environ.get("NIMBUS_NPM", "npm"))
OPTIONS = ("--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--no-progress", "--loglevel=notice")


def main() -> int:
    artifact = artifact_stream()
    sources, made = WORK / "src", WORK / "out"
    unpack(sources)
    for folder in (made / "nodejs", WORK / "tmp"):
        folder.mkdir(parents=True)
    what = "ci" if (sources / "package-lock.json").exists() else "install"
    environment = dict(os.environ) | {
        "HOME": str(WORK),
        "TMPDIR": str(WORK / "tmp"),
        "npm_config_cache": str(WORK / "npm"),
        "npm_config_globalconfig": str(WORK / "no-such-file"),
    }
    environment.setdefault("npm_config_userconfig", str(WORK / "no-such-file-either"))
    command = [*NPM, what, *OPTIONS]
    if run(command, sources, environment) != 0:
        return 1
    installed = sources / "node_modules"
    installed.mkdir(exist_ok=True)
    (installed / ".package-lock.json").unlink(missing_ok=True)
    installed.rename(made / "nodejs" / "node_modules")
    pack(made, artifact)
    return 0


def run(command: list[str], folder: Path, environment: dict[str, str]) -> int:
    """npm's exit code. What it says goes to the log, but for its manual and where it keeps a log of its own."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT
    ) as npm:
        assert npm.stdout is not None
        is_manual = False
        for line in npm.stdout:
            is_manual = is_manual or line.rstrip().endswith(b"Clean install a project")
            if not is_manual and b"A complete log of this run" not in line:
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()
    return npm.returncode


if __name__ == "__main__":
    sys.exit(main())
