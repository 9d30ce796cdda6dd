"""The second wall: PostgreSQL itself shows each tenant its own rows only.

Every scoped table has a policy that compares its `tenant_id` with the scope that came
with the statement (see `tenants.postgresql`). Raw SQL and a forgotten manager
meet it as well. It holds the owner of the tables too; only a superuser or a role that
bypasses row security would pass, and with such a role the application does not start.
"""

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.models import Model

from tenants.managers import TenantManager

POLICY = "tenant_wall"
SETTING = "provisioning.scope"

# Scalar subqueries, so that the setting is read once for a statement and not per row.
WALL = f"""
    (SELECT current_setting('{SETTING}', true) = '*')
    OR tenant_id = (
        SELECT nullif(nullif(current_setting('{SETTING}', true), ''), '*')::uuid
    )
"""


def scoped_models() -> list[type[Model]]:
    """Every model whose rows belong to a tenant."""
    return [
        model
        for model in apps.get_models()
        if isinstance(model._default_manager, TenantManager)
    ]


def raise_wall(**kwargs: Any) -> None:
    """Give each scoped table its policy, once it is there; after every `migrate`."""
    using = kwargs.get("using", "default")
    quote = connections[using].ops.quote_name
    with connections[using].cursor() as cursor:
        for table in map(quote, sorted(tables_without_wall(using))):
            guard(cursor, table)


def guard(cursor: Any, table: str) -> None:
    """Put the wall around one table; its name comes quoted."""
    cursor.execute(f"DROP POLICY IF EXISTS {POLICY} ON {table}")
    cursor.execute(f"CREATE POLICY {POLICY} ON {table} USING ({WALL})")
    cursor.execute(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    )


def tables_without_wall(using: str = "default") -> set[str]:
    """Scoped tables that are there and that the database does not guard."""
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


def role_passes_the_wall(using: str = "default") -> bool:
    """Whether row security does not hold the role that the application connects as."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
        return bool(cursor.fetchone()[0])


def check_wall(
    app_configs: Any = None, databases: list[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Django's check, for `check --database default` and the start of the servers."""
    found: list[CheckMessage] = []
    for using in databases or ():
        if role_passes_the_wall(using):
            found.append(
                Error(
                    "The database role is a superuser or bypasses row security.",
                    hint="Let DATABASE_URL name a role that is neither.",
                    id="tenants.E001",
                )
            )
        if missing := tables_without_wall(using):
            found.append(
                Warning(  # no error: `migrate` checks first, and is what mends it
                    f"No row security on {', '.join(sorted(missing))}.",
                    hint="`manage.py migrate` puts it there.",
                    id="tenants.W001",
                )
            )
    return found


def refuse_to_start_without_wall() -> None:
    """For the start of whatever answers requests.

    Raises:
        ImproperlyConfigured: the database would not keep the tenants apart.
    """
    if found := check_wall(databases=["default"]):
        raise ImproperlyConfigured(
            " ".join(f"{item.msg} {item.hint}" for item in found)
        )
