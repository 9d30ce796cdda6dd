"""Delete the tenants whose waiting time is over: their rows, their files and their accounts.

The steps are short transactions in a fixed order, so an interrupted run is continued by the
next one. First, all certificates are revoked, and the run waits until the revocation lists have
them. In the end, one row says that the tenant existed, with the last digest of its audit log.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core.files.storage import storages
from django.db import connection, transaction
from django.db.models import ForeignKey, Model, ProtectedError, QuerySet

from accounts.services import erasure
from accounts.services.tenant_archive import tenant_path
from certificates.models import DeviceCertificate
from certificates.services import forgetting
from core.errors import DomainError
from devices.registry.models import Device
from devices.registry.services import retirement
from events.models import Event, Seal, Unsealed
from tenants import suspension
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import DeletedTenant, Membership, Tenant, User

BATCH = 2_000  # rows in one transaction
RETIRED_TOGETHER = 100
LAST = (Membership, Tenant)  # deleted together in the last step
APART = (DeviceCertificate, Event)  # deleted by steps of their own
TimeIsUp = Callable[[], bool]


def delete_due(*, now: datetime, time_is_up: TimeIsUp = lambda: False) -> int:
    """Continue with all tenants that are due. Return how many were deleted.

    Raises:
        ExceptionGroup: some could not be deleted. The others were.
    """
    with every_tenant_scope():
        due = list(Tenant.objects.filter(deletion_due_at__lte=now).order_by("deletion_due_at"))
    deleted, failures = 0, list[Exception]()
    for tenant in due:
        try:
            deleted += _delete(tenant, now, time_is_up)
        except Exception as error:  # one tenant must not keep the others
            failures.append(error)
    if failures:
        raise ExceptionGroup("Some tenants could not be deleted.", failures)
    return deleted


def owned_models() -> dict[type[Model], str]:
    """Return the models whose rows go with a tenant, with the look-up of the tenant.

    These are the models of tenants, and those with a foreign key to one of them.
    """
    managed = [model for model in apps.get_models() if model._meta.managed]
    owned = {model: path for model in managed if (path := tenant_path(model))}
    found = True
    while found:
        found = False
        for model in managed:
            for field in _foreign_keys(model):
                if model not in owned and field.related_model in owned:
                    owned[model] = f"{field.name}__{owned[field.related_model]}"
                    found = True
    return owned


def in_order(owned: dict[type[Model], str]) -> Iterator[type[Model]]:
    """Yield the models so that each one comes before those that it refers to."""
    waiting = dict(owned)
    while waiting:
        ready = [
            model
            for model in waiting
            if not any(
                field.related_model is model
                for other in waiting
                if other is not model
                for field in _foreign_keys(other)
            )
        ]
        assert ready, f"These models refer to each other: {list(waiting)}"
        for model in sorted(ready, key=lambda model: model._meta.label_lower):
            del waiting[model]
            yield model


def _delete(tenant: Tenant, now: datetime, time_is_up: TimeIsUp) -> bool:
    """Delete a tenant, or as much as the time allows. Return whether it is gone."""
    with tenant_scope(tenant.pk):
        if not _retire_devices(now, time_is_up) or not forgetting.are_listed(tenant.pk):
            return False
        while forgetting.forget_batch(tenant.pk, now=now):
            if time_is_up():
                return False
    owned = owned_models()
    for model in in_order(owned):
        if model in (*LAST, *APART):
            continue
        while _delete_batch(model, owned[model], tenant):
            if time_is_up():
                return False
    with every_tenant_scope():
        while _delete_events(tenant):
            if time_is_up():
                return False
        _finish(tenant, owned, now)
    suspension.forget()
    return True


def _retire_devices(now: datetime, time_is_up: TimeIsUp) -> bool:
    """Retire the devices of the current tenant. Return whether all are retired."""
    while devices := list(Device.objects.not_retired()[:RETIRED_TOGETHER]):
        for device in devices:
            retirement.retire(device=device, reason="The tenant is being deleted.", now=now)
        if time_is_up():
            return False
    return True


def _rows(model: type[Model], path: str, tenant: Tenant) -> QuerySet[Any]:
    return model._base_manager.filter(**{path: tenant})


def _delete_batch(model: type[Model], path: str, tenant: Tenant) -> int:
    """Delete some rows of a model with their files. Return their number.

    The files go first: after an interruption, the rows still say which files there are.
    """
    with every_tenant_scope():
        rows = _rows(model, path, tenant)
        ids = _delete_files(model, rows) if hasattr(model, "stored_files") else _ids(rows)
        if not ids:
            return 0
        with transaction.atomic():
            for field in _foreign_keys(model):
                if field.related_model is model:
                    model._base_manager.filter(**{f"{field.name}__in": ids}).update(
                        **{field.name: None}
                    )
            _allow_deletion()
            model._base_manager.filter(pk__in=ids)._raw_delete("default")
    return len(ids)


def _delete_files(model: Any, rows: QuerySet[Any]) -> list[Any]:
    """Delete the files of some rows. Return the keys of these rows."""
    found = list(rows.order_by("pk")[:BATCH])
    for row in found:
        for name, alias in model.stored_files.items():
            if stored := getattr(row, name):
                storages[alias].delete(stored)
    return [row.pk for row in found]


def _allow_deletion() -> None:
    """Make the triggers of tables that are only added to allow deletions in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL provisioning.retention = 'on'")


def _ids(rows: QuerySet[Any]) -> list[Any]:
    return list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])


def _delete_events(tenant: Tenant) -> int:
    with transaction.atomic():
        ids = _ids(_rows(Event, "tenant", tenant))
        Unsealed.objects.filter(event_id__in=ids).delete()
        _allow_deletion()
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM events_event WHERE id = ANY(%s)", [ids])
    return len(ids)


@transaction.atomic
def _finish(tenant: Tenant, owned: dict[type[Model], str], now: datetime) -> None:
    """Delete what is left, the accounts of people who are in no other tenant, and the tenant."""
    last_seal = Seal.objects.filter(chain=tenant.pk).order_by("-number").first()
    DeletedTenant.objects.create(
        id=tenant.pk,
        deleted_at=now,
        audit_digest=bytes(last_seal.digest).hex() if last_seal else "",
    )
    _allow_deletion()
    with connection.cursor() as cursor:
        for model in in_order(owned):
            if model not in LAST:
                _rows(model, owned[model], tenant)._raw_delete("default")
        cursor.execute("DELETE FROM events_seal WHERE chain = %s", [tenant.pk])
    people = list(User.objects.filter(memberships__tenant=tenant, is_superuser=False))
    _rows(Membership, "tenant", tenant)._raw_delete("default")
    Tenant.objects.filter(pk=tenant.pk)._raw_delete("default")
    for user in people:
        if not Membership.every_tenant.filter(user=user).exists():
            _delete_account(user, now)


def _delete_account(user: User, now: datetime) -> None:
    try:
        with transaction.atomic():
            user.delete()
    except (ProtectedError, DomainError):  # rows of another tenant refer to it
        erasure.erase(user=user, now=now)


def _foreign_keys(model: type[Model]) -> list[Any]:
    return [field for field in model._meta.concrete_fields if isinstance(field, ForeignKey)]
