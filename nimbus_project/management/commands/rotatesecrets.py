"""``manage.py rotatesecrets``: encrypt all that is secret again with the newest key, so that older ones can go."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from functions.models import Secret
from functions.secrets import reencrypt
from nimbus_project.core.crypto import Undecryptable, keyring
from triggers import alert_channels, webhooks
from triggers.models import AlertChannel, Webhook


class Command(BaseCommand):
    help = (
        "Encrypts every secret, the keys of webhooks and the addresses of alerts again with the newest key: the first "
        "of NIMBUS_SECRETS_KEY, or of the file secrets.key. Can be repeated; functions keep running meanwhile."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--new-key", action="store_true", help="first put a new key into the file secrets.key")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["new_key"]:
            try:
                keyring().add_key()
            except ValueError as error:
                raise CommandError(str(error)) from error
        done, unreadable = 0, []
        for secret in Secret.objects.select_related("function").defer("ciphertext").iterator():
            try:
                done += reencrypt(secret.pk)
            except Undecryptable:
                unreadable.append(f"{secret.function.name}/{secret.name}")
        for webhook in Webhook.objects.select_related("function").defer("secrets_ciphertext").iterator():
            try:
                done += webhooks.reencrypt(webhook.pk)
            except Undecryptable:
                unreadable.append(f"the webhook of {webhook.function.name}")
        for channel in AlertChannel.objects.select_related("rule").defer("ciphertext").iterator():
            try:
                done += alert_channels.reencrypt(channel.pk)
            except Undecryptable:
                unreadable.append(f"a channel of the alert {channel.rule.name}")
        self.stdout.write(f"{done} secrets are encrypted with the newest key.")
        if unreadable:
            raise CommandError(f"No key opens {', '.join(unreadable)}. Keep the older keys, or set these again.")
