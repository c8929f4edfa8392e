"""Connections to PostgreSQL that tell when there are none to be had, and when there are again."""

from __future__ import annotations

from typing import Any, Self

import psycopg

from nimbus_project.core.away import DATABASE


class TellingConnection(psycopg.Connection[Any]):
    """For psycopg's pool, which makes all connections of a process."""

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().connect(*args, **kwargs)
        DATABASE.ended()
        return made
