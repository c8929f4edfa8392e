"""`manage.py build_runtimes`: make the images that sandboxes and builds start from."""

from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workers.drivers.docker import DockerImages
from workers.images import ImageError, Progress, build_runtimes, recipes
from workers.sandbox import SandboxError

_DESCRIPTION = """\
Builds the container images that functions run in, one per runtime, with Nimbus's runner inside, then those that
compile functions and fetch their dependencies, one per toolchain.
An image that is up to date is left alone. Where no image registry can be reached, the Debian base is made
with mmdebstrap from the mirror that apt on this machine uses.

  manage.py build_runtimes                 every runtime, Python first, then every builder
  manage.py build_runtimes python3.11      only this one
  manage.py build_runtimes builder-go      only what compiles Go
  manage.py build_runtimes --force         even what is up to date
"""


class Command(BaseCommand):
    help = _DESCRIPTION
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "runtime", nargs="*", metavar="runtime", help=f"which to build: {', '.join(recipes())} (default: all)"
        )
        parser.add_argument("--force", action="store_true", help="build even what is up to date")
        parser.add_argument(
            "--json", action="store_true", help="print what was done as JSON on stdout; progress goes to stderr"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        there = list(recipes())
        names = options["runtime"] or there
        unknown = [name for name in names if name not in there]
        if unknown:
            raise CommandError(f"no such runtime or builder: {', '.join(unknown)} (there are: {', '.join(there)})")
        progress = Progress(sys.stderr if options["json"] else sys.stdout)
        try:
            built = build_runtimes(names, DockerImages(), force=options["force"], progress=progress)
        except (ImageError, SandboxError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps([asdict(one) for one in built], indent=2))
