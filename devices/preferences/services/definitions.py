"""Define preferences. A preference describes a setting that devices have."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import transaction

from core.locks import transaction_lock
from devices.configurations.documents import json_equal
from devices.preferences.errors import (
    InvalidDefinition,
    NoSuchDefinition,
    PreferenceExists,
    TooManyDefinitions,
)
from devices.preferences.events import PreferenceDefined, PreferenceRemoved
from devices.preferences.models import Definition, Kind, PlatformPreference, PreferenceDefinition
from devices.preferences.value_kinds import KEY, find_definition_fault, find_fault
from events.services.outbox import record
from tenants import revisions
from tenants.context import current_tenant_id, every_tenant_scope
from tenants.revisions import tenants_in_scope

MAX_DEFINITIONS = 200  # of each tenant, and of the platform
TYPE_FIELDS = ("kind", "minimum", "maximum", "choices")
FIELDS = ("label", "description", *TYPE_FIELDS, "default", "device_may_write")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A preference as it applies to a tenant's devices.

    `source` is where the preference is defined, and `default_source` is where its default
    is defined. Each is `platform` or `tenant`.
    """

    key: str
    label: str
    description: str
    kind: str
    minimum: int | None
    maximum: int | None
    choices: Sequence[str]
    default: Any
    device_may_write: bool
    source: str
    default_source: str


def of_tenant() -> dict[str, Preference]:
    """Return the preferences of the current tenant's devices by key."""
    return _merge(_of_platform(), PreferenceDefinition.objects.all())


def of_tenants_in_scope() -> dict[UUID, dict[str, Preference]]:
    """Return the preferences of the current tenant or of all, by tenant and key."""
    of_platform, own = _of_platform(), defaultdict(list)
    for row in PreferenceDefinition.every_tenant.all():
        own[row.tenant_id].append(row)
    ids = tenants_in_scope().values_list("pk", flat=True)
    return {pk: _merge(of_platform, own[pk]) for pk in ids}


def _of_platform() -> dict[str, Preference]:
    return {
        row.key: _preference(row, source="platform") for row in PlatformPreference.objects.all()
    }


def _merge(
    of_platform: Mapping[str, Preference], rows: Iterable[PreferenceDefinition]
) -> dict[str, Preference]:
    preferences = dict(of_platform)
    for row in rows:
        base = preferences.get(row.key)
        if base is None:
            preferences[row.key] = _preference(row, source="tenant")
        elif find_fault(base, row.default) is None:
            preferences[row.key] = _with_tenant_default(base, row)
        # A tenant's default that does not match the platform's type is ignored.
    return dict(sorted(preferences.items()))


def fingerprint(preferences: dict[str, Preference]) -> str:
    """Return a hash of the parts of the preferences that devices use."""
    values = [
        [p.key, p.kind, p.minimum, p.maximum, p.choices, p.default, p.device_may_write]
        for p in preferences.values()
    ]
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


@transaction.atomic
def define(
    *, key: str, must_be_new: bool = False, now: datetime, **fields: Any
) -> PreferenceDefinition:
    """Create or change a preference of the current tenant.

    If the platform has a preference with the key, its type cannot be changed. The tenant's
    definition then only sets the label, the description, the default and whether devices
    may write the setting.

    Args:
        must_be_new: raise an error if the tenant has a definition with the key.
        fields: new values of the fields that are listed in `FIELDS`.

    Raises:
        PreferenceExists: `must_be_new` is set and the definition exists.
        InvalidDefinition: the definition is invalid, or the default has another type.
        TooManyDefinitions: the tenant has `MAX_DEFINITIONS` definitions.
    """
    transaction_lock(f"preferences of {current_tenant_id()}")
    platform_row = PlatformPreference.objects.filter(key=key).first()
    if platform_row is not None:
        fields |= {name: getattr(platform_row, name) for name in TYPE_FIELDS}
    row = PreferenceDefinition.objects.filter(key=key).first()
    if row is not None and must_be_new:
        raise PreferenceExists
    if row is None and PreferenceDefinition.objects.count() >= MAX_DEFINITIONS:
        raise TooManyDefinitions(f"At most {MAX_DEFINITIONS} preferences per tenant are allowed.")
    row = row or PreferenceDefinition(key=key)
    _define(row, fields, now, tenant_id=current_tenant_id())
    return row


@transaction.atomic
def define_for_platform(
    *, key: str, must_be_new: bool = False, now: datetime, **fields: Any
) -> PlatformPreference:
    """Create or change a preference of all tenants' devices. See `define`."""
    transaction_lock("preferences of the platform")
    row = PlatformPreference.objects.filter(key=key).first()
    if row is not None and must_be_new:
        raise PreferenceExists
    if row is None and PlatformPreference.objects.count() >= MAX_DEFINITIONS:
        raise TooManyDefinitions(
            f"At most {MAX_DEFINITIONS} preferences of the platform are allowed."
        )
    row = row or PlatformPreference(key=key)
    _define(row, fields, now, tenant_id=None)
    return row


@transaction.atomic
def remove(*, key: str, now: datetime) -> None:
    """Delete a tenant's definition. The devices' values are kept but not shown.

    Raises:
        NoSuchDefinition: the tenant has no definition with this key.
    """
    if not re.fullmatch(KEY, key):
        raise NoSuchDefinition
    count, _ = PreferenceDefinition.objects.filter(key=key).delete()
    if not count:
        raise NoSuchDefinition
    revisions.increment()
    record([PreferenceRemoved(tenant_id=current_tenant_id(), at=now, key=key)])


@transaction.atomic
def remove_from_platform(*, key: str, now: datetime) -> None:
    """Delete a definition of the platform. See `remove`."""
    count, _ = PlatformPreference.objects.filter(key=key).delete()
    if not count:
        raise NoSuchDefinition
    revisions.increment_all()
    with every_tenant_scope():
        record([PreferenceRemoved(tenant_id=None, at=now, key=key)])


def _define(row: Definition, fields: dict[str, Any], now: datetime, *, tenant_id: Any) -> None:
    before = {name: getattr(row, name) for name in FIELDS}
    is_new = row._state.adding
    for name, value in fields.items():
        setattr(row, name, value)
    _validate(row)
    row.updated_at = now
    row.save()
    changes = {
        name: (None if is_new else before[name], getattr(row, name))
        for name in FIELDS
        if is_new or not json_equal(before[name], getattr(row, name))
    }
    if changes:
        revisions.increment_all() if tenant_id is None else revisions.increment()
        event = PreferenceDefined(tenant_id=tenant_id, at=now, key=row.key, changes=changes)
        with every_tenant_scope() if tenant_id is None else nullcontext():
            record([event])


def _validate(row: Definition) -> None:
    """Validate a definition. Clear the fields that its kind does not use."""
    if row.kind not in Kind.values:
        raise InvalidDefinition(f"Must be one of: {', '.join(Kind.values)}.", field="kind")
    if row.kind != "integer":
        row.minimum = row.maximum = None
    if row.kind != "choice":
        row.choices = []
    if definition_fault := find_definition_fault(row.key, row):
        field, sentence = definition_fault
        raise InvalidDefinition(sentence, field=field)
    if fault := find_fault(row, row.default):
        raise InvalidDefinition(fault, field="default")
    row.label = row.label or row.key.replace("_", " ").capitalize()


def _preference(row: Definition, *, source: str) -> Preference:
    fields = {name: getattr(row, name) for name in FIELDS}
    return Preference(key=row.key, source=source, default_source=source, **fields)


def _with_tenant_default(base: Preference, row: PreferenceDefinition) -> Preference:
    type_fields = {name: getattr(base, name) for name in TYPE_FIELDS}
    return Preference(
        key=row.key,
        label=row.label or base.label,
        description=row.description or base.description,
        default=row.default,
        device_may_write=row.device_may_write,
        source="platform",
        default_source="tenant",
        **type_fields,
    )
