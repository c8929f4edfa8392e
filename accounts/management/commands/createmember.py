"""`manage.py createmember`: a user with a role, who can log in to the console. (Django's own `createsuperuser` makes an
admin as well.)"""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import rights, services
from nimbus_project.core.errors import NimbusError


class Command(BaseCommand):
    help = "Make a user. The password is asked for."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument(
            "--role", required=True, choices=(rights.ADMIN, rights.DEVELOPER, rights.VIEWER, rights.INVOKER)
        )
        parser.add_argument("--email", default="")
        parser.add_argument("--password-stdin", action="store_true", help="read the password from a pipe")
        parser.add_argument("--no-password", action="store_true", help="API keys only, no login")

    def handle(self, *args: Any, **options: Any) -> None:
        password = "" if options["no_password"] else _password(from_pipe=options["password_stdin"])
        try:
            user = services.user_create(
                name=options["name"], role=options["role"], email=options["email"], password=password
            )
        except NimbusError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{user.get_username()} is {options['role']}.")


def _password(*, from_pipe: bool) -> str:
    return sys.stdin.readline().rstrip("\n") if from_pipe else getpass.getpass()
