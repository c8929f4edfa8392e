"""Quotas of a running platform, set as an operator would: by a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from nimbus_project.config import ROOT
from tests.platform import Platform

SET_LIMITS = """
from django.db import transaction
from accounts import quotas
from accounts.models import Quota
with transaction.atomic():
    Quota.objects.update_or_create(owner=None, defaults={limits})
    quotas.changed()
"""


def limit(platform: Platform, **limits: int) -> None:
    """From a process of its own, as an operator's shell would."""
    unlimited = {"max_functions": 0, "max_memory_mb": 0, "max_invocations_per_day": 0, "max_code_size_kb": 0}
    command = [sys.executable, "manage.py", "shell", "-c", SET_LIMITS.format(limits=unlimited | limits)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **platform.env}, check=True, capture_output=True, timeout=60)
