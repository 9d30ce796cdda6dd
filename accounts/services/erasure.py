"""Erase the personal data of one person, on request."""

from datetime import datetime

from django.apps import apps
from django.db import connection, transaction
from django.db.models import CharField, Model, TextField

from accounts.events import PersonErased
from accounts.models import SignInIdentity
from accounts.services.members import require_another_owner
from events.services.outbox import record
from tenants.context import every_tenant_scope
from tenants.models import Membership, User

# The audit log cannot be changed: its hash chain would break. It ends with its retention.
UNCHANGEABLE = frozenset({"events.event", "events.seal"})


@transaction.atomic
def erase(*, user: User, now: datetime) -> dict[str, int]:
    """Erase a person: their account cannot be used, and nothing but the audit log names them.

    The account stays as an empty row, because changes that the person made refer to it. Its
    sessions, identities of single sign-on, second factor, tokens, memberships and saved views are
    deleted. Texts that equal
    the e-mail address, such as the author of a comment, get a name without a meaning.

    Returns:
        the number of changed rows by table.

    Raises:
        LastOwner: the person is the only owner of a tenant.
    """
    with every_tenant_scope():
        for membership in Membership.every_tenant.filter(user=user).select_related("tenant"):
            require_another_owner(membership)
        email, erased = user.email, f"erased-{user.pk}@invalid"
        with connection.cursor() as cursor:  # of versions of configurations
            cursor.execute("SET LOCAL provisioning.erasure = 'on'")
        changed = {
            model._meta.db_table: count
            for model in apps.get_models()
            if model is not User and (count := _replace(model, email, erased))
        }
        tenants = list(Membership.every_tenant.filter(user=user).values_list("tenant", flat=True))
        Membership.every_tenant.filter(user=user).delete()
        SignInIdentity.every_tenant.filter(user=user).delete()
        user.sessions.all().delete()
        user.saved_views.all().delete()
        if hasattr(user, "second_factor"):
            user.second_factor.delete()
        user.email, user.name, user.is_active, user.list_columns = erased, "", False, {}
        user.set_unusable_password()
        user.save()
        record(PersonErased(tenant_id=tenant, at=now, user=user.pk) for tenant in tenants)
    return changed


def _replace(model: type[Model], email: str, erased: str) -> int:
    """Replace texts that equal the address. Return the number of changed values."""
    options = model._meta
    if not options.managed or options.proxy or options.label_lower in UNCHANGEABLE:
        return 0
    total = 0
    quote = connection.ops.quote_name
    for field in options.concrete_fields:
        is_text = isinstance(field, CharField | TextField) and not field.primary_key
        if not is_text or (field.max_length or len(erased)) < len(erased):
            continue
        column = quote(str(field.column))
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {quote(options.db_table)} SET {column} = %s WHERE lower({column}) = %s",
                [erased, email],
            )
            total += cursor.rowcount
    return total
