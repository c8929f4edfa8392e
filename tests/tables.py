"""Tables emptied between tests with real commits: of those that have rows, each by a statement of its own, so that it
can not be in the way of anybody for long. The ways of Django take a quarter of a second for each test: TRUNCATE makes a
new file for every table there is, and signals tell every app of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from django.apps import apps
from django.db import connection
from django.db.models import SET_NULL, Model

KEPT = {"django_migrations", "django_content_type", "auth_permission"}
"""What migrations make and no test changes."""

_quote = '"{}"'.format


def empty_all() -> None:
    """Every table, but for what migrations have made. PostgreSQL only."""
    _empty(_all_tables(), ())


def empty(models: Iterable[type[Model]]) -> None:
    """These models, and what goes or forgets with them. PostgreSQL only."""
    _empty(*_reach(tuple(models)))


@cache
def _all_tables() -> tuple[str, ...]:
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return tuple(sorted(set(names) - KEPT))


@cache
def _reach(models: tuple[type[Model], ...]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Tables whose rows go, and columns that are set to null, when all rows of these models go."""
    going, forgetting = list(models), set()
    for model in going:
        for child, column, on_delete in _children(model):
            if on_delete is SET_NULL:
                forgetting.add((child._meta.db_table, column))
            elif child not in going:
                going.append(child)
    tables = tuple(model._meta.db_table for model in going)
    return tables, tuple(sorted(pair for pair in forgetting if pair[0] not in tables))


def _children(model: type[Model]) -> Iterator[tuple[type[Model], str, object]]:
    for child in apps.get_models(include_auto_created=True):
        for one in child._meta.local_concrete_fields:
            if one.is_relation and one.related_model is model:
                yield child, one.column, one.remote_field.on_delete


def _empty(tables: tuple[str, ...], columns: tuple[tuple[str, str], ...]) -> None:
    found = [f"SELECT 'DELETE FROM {_quote(table)}' WHERE EXISTS (SELECT FROM {_quote(table)})" for table in tables]
    for table, column in columns:
        change = f"UPDATE {_quote(table)} SET {_quote(column)} = NULL WHERE {_quote(column)} IS NOT NULL"
        found.append(f"SELECT '{change}' WHERE EXISTS (SELECT FROM {_quote(table)} WHERE {_quote(column)} IS NOT NULL)")
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(found))
        statements = [row[0] for row in cursor.fetchall()]
        if not statements:
            return
        # No triggers: neither those of foreign keys, since all that refers to these rows goes too, nor the audit log's.
        cursor.execute("SET session_replication_role = replica")
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.execute("SET session_replication_role = DEFAULT")
