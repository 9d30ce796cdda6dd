"""Row-level security: PostgreSQL shows each tenant only its own rows.

A scoped table is a table whose rows belong to tenants. Every scoped table has a policy
that compares `tenant_id` with the scope sent with the statement (see
`tenants.postgresql.base`). So raw SQL and queries through the wrong manager are isolated
too. The policies also apply to the owner of the tables. They do not apply to superusers
and roles that bypass row-level security. With such a role the application does not start.
"""

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.models import Model

from tenants.managers import TenantManager

POLICY = "tenant_wall"
SETTING = "provisioning.scope"

# Scalar subqueries, so that the setting is read once per statement and not once per row.
CONDITION = f"""
    (SELECT current_setting('{SETTING}', true) = '*')
    OR tenant_id = (
        SELECT nullif(nullif(current_setting('{SETTING}', true), ''), '*')::uuid
    )
"""


def scoped_models() -> list[type[Model]]:
    """Return all models whose rows belong to a tenant."""
    return [
        model for model in apps.get_models() if isinstance(model._default_manager, TenantManager)
    ]


def create_missing_policies(**kwargs: Any) -> None:
    """After each `migrate`, enable row-level security on the scoped tables that lack it."""
    using = kwargs.get("using", "default")
    quote = connections[using].ops.quote_name
    with connections[using].cursor() as cursor:
        for table in map(quote, sorted(tables_without_row_security(using))):
            enable_row_security(cursor, table)


def enable_row_security(cursor: Any, table: str) -> None:
    """Create the policy of a table and enable row-level security on it.

    Args:
        table: the quoted name of the table.
    """
    cursor.execute(f"DROP POLICY IF EXISTS {POLICY} ON {table}")
    cursor.execute(f"CREATE POLICY {POLICY} ON {table} USING ({CONDITION})")
    cursor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")


def tables_without_row_security(using: str = "default") -> set[str]:
    """Return the existing scoped tables that row-level security does not protect."""
    tables = {model._meta.db_table for model in scoped_models()}
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT relname FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace
                AND relname = ANY(%s) AND NOT (
                    relrowsecurity AND relforcerowsecurity AND EXISTS (
                        SELECT 1 FROM pg_policy
                        WHERE polrelid = pg_class.oid AND polname = %s
                    )
                )
            """,
            [sorted(tables), POLICY],
        )
        return {name for (name,) in cursor.fetchall()}


def role_bypasses_row_security(using: str = "default") -> bool:
    """Return True if row-level security does not apply to the application's role."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        return bool(cursor.fetchone()[0])


def check_row_security(
    *, app_configs: Any = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """System check of row-level security, for `check --database default` and server starts."""
    checks: list[CheckMessage] = []
    for using in databases or ():
        if role_bypasses_row_security(using):
            checks.append(
                Error(
                    "The database role is a superuser or bypasses row-level security.",
                    hint="Use another role in DATABASE_URL.",
                    id="tenants.E001",
                )
            )
        if tables := tables_without_row_security(using):
            checks.append(
                # A warning: an error would stop `migrate`, which creates the policies.
                Warning(
                    f"Row-level security is missing on {', '.join(sorted(tables))}.",
                    hint="Run `manage.py migrate`.",
                    id="tenants.W001",
                )
            )
    return checks


def require_row_security() -> None:
    """Check row-level security at the start of a server.

    Raises:
        ImproperlyConfigured: the database would not isolate the tenants.
    """
    if checks := check_row_security(databases=["default"]):
        raise ImproperlyConfigured(" ".join(f"{item.msg} {item.hint}" for item in checks))
