"""The audit log takes entries and gives none back: triggers refuse to change or delete one, whoever asks.

What is kept for a limited time only must be deletable: on PostgreSQL in a transaction that has set
`nimbus.audit_retention` to `on`, on SQLite (which has no such settings) in one that has opened the gate's only row.
Changing an entry is never allowed.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations

_POSTGRESQL = (
    """
    CREATE FUNCTION accounts_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('nimbus.audit_retention', true) = 'on' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER accounts_audit_append_only BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION accounts_audit_append_only()
    """,
)
_SQLITE = (
    "CREATE TABLE accounts_audit_gate (open integer NOT NULL)",
    "INSERT INTO accounts_audit_gate VALUES (0)",
    """
    CREATE TRIGGER accounts_audit_no_update BEFORE UPDATE ON accounts_auditentry
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER accounts_audit_no_delete BEFORE DELETE ON accounts_auditentry
    WHEN (SELECT open FROM accounts_audit_gate) = 0
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
)
_POSTGRESQL_BACK = (
    "DROP TRIGGER accounts_audit_append_only ON accounts_auditentry",
    "DROP FUNCTION accounts_audit_append_only()",
)
_SQLITE_BACK = (
    "DROP TRIGGER accounts_audit_no_update",
    "DROP TRIGGER accounts_audit_no_delete",
    "DROP TABLE accounts_audit_gate",
)


def _forwards(apps: Any, editor: Any) -> None:
    _run(editor, _POSTGRESQL, _SQLITE)


def _backwards(apps: Any, editor: Any) -> None:
    _run(editor, _POSTGRESQL_BACK, _SQLITE_BACK)


def _run(editor: Any, postgresql: tuple[str, ...], sqlite: tuple[str, ...]) -> None:
    statements = {"postgresql": postgresql, "sqlite": sqlite}.get(editor.connection.vendor, ())
    with editor.connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [migrations.RunPython(_forwards, _backwards)]
