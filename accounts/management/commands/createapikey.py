"""`manage.py createapikey`: the first key of an installation, and any later one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from accounts import rights, services
from accounts.errors import UserNotFound
from accounts.selectors import role_of, user_get
from nimbus_project.core.errors import NimbusError


class Command(BaseCommand):
    help = "Make an API key and print it, once. A user who is not there yet is made too, with the role of the key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="name of the owner")
        parser.add_argument(
            "--role",
            choices=(rights.ADMIN, rights.DEVELOPER, rights.VIEWER, rights.INVOKER),
            help="what the key may do; default: what its owner may",
        )
        parser.add_argument("--name", default="command line", help="what the key is for")
        parser.add_argument("--expires-days", type=int, help="default: it does not expire")

    def handle(self, *args: Any, **options: Any) -> None:
        days: int | None = options["expires_days"]
        if days is not None and not 1 <= days <= 3650:
            raise CommandError("--expires-days must be 1 to 3650")
        expires_at = None if days is None else timezone.now() + timedelta(days=days)
        try:
            with transaction.atomic():
                owner = self._owner(options["user"], options["role"])
                role = options["role"] or role_of(owner)
                row, text = services.api_key_create(owner, name=options["name"], role=role, expires_at=expires_at)
        except NimbusError as error:
            raise CommandError(error.message) from error
        self.stderr.write(f"A key of {owner.get_username()} with the role {row.role}. It is not shown again:")
        self.stdout.write(text)

    def _owner(self, name: str, role: str | None) -> Any:
        try:
            return user_get(name)
        except UserNotFound:
            if role is None:
                raise CommandError(f"There is no user {name}: give --role to make one.") from None
            return services.user_create(name=name, role=role)
