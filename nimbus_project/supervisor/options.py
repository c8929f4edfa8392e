"""What the command line says; the same for `python -m nimbus_project.supervisor` and `manage.py runplatform`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

DESCRIPTION = """\
Starts the whole platform on this machine: Redis (unless NIMBUS_REDIS_URL names another), the web process, the
worker and the scheduler; makes or updates the database first, and builds missing runtime images where a Docker
engine answers. Ctrl-C or SIGTERM ends everything in order: web, then the worker once its runs are finished, then
Redis. A part that dies is started again.

Settings come from the environment: NIMBUS_PORT, NIMBUS_SANDBOX_DRIVER (auto, docker, process), DATABASE_URL,
NIMBUS_REDIS_URL, NIMBUS_VAR_DIR and more; .env.example lists them all.
"""
MAX_PROCESSES = 32


@dataclass(frozen=True, slots=True)
class Options:
    """How many of what."""

    web: int = 1
    workers: int = 1
    beat: bool = True
    check: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--web", type=_count, default=1, metavar="N", help="web processes (default 1)")
    parser.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="workers, each with a pool of sandboxes (default 1)"
    )
    parser.add_argument(
        "--no-beat",
        dest="beat",
        action="store_false",
        help="no scheduler here: another node has the one that is needed",
    )
    parser.add_argument("--check", action="store_true", help="print what would be started, start nothing")


def parse(arguments: list[str] | None) -> Options:
    """Ends the process with the usual message when the arguments make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m nimbus_project.supervisor",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    given = parser.parse_args(arguments)
    return Options(web=given.web, workers=given.workers, beat=given.beat, check=given.check)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_PROCESSES:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MAX_PROCESSES}, not {text!r}")
    return int(text)
