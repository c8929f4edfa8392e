"""`manage.py runplatform`: the whole platform on this machine."""

from __future__ import annotations

import os
import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from nimbus_project.config import ROOT
from nimbus_project.supervisor import options


class Command(BaseCommand):
    help = options.DESCRIPTION
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        options.add_arguments(parser)

    def handle(self, *args: Any, **given: Any) -> None:
        """This process becomes the supervisor, and with that gives back the memory that Django takes."""
        command = [sys.executable, "-m", "nimbus_project.supervisor"]
        command += ["--web", str(given["web"]), "--workers", str(given["workers"])]
        command += [] if given["beat"] else ["--no-beat"]
        command += ["--check"] if given["check"] else []
        os.chdir(ROOT)
        os.execv(sys.executable, command)
