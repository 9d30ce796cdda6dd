"""Which settings a tenant's devices have, and what is done to their definitions."""

import json
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db import transaction

from core.locks import in_turn
from devices.configurations.documents import same
from devices.preferences.errors import (
    InvalidDefinition,
    NoSuchDefinition,
    PreferenceExists,
    TooManyDefinitions,
)
from devices.preferences.events import PreferenceDefined, PreferenceRemoved
from devices.preferences.models import (
    Definition,
    Kind,
    PlatformPreference,
    PreferenceDefinition,
)
from devices.preferences.value_kinds import KEY, definition_fault, fault
from events.services.outbox import record
from tenants.context import current_tenant_id, every_tenant_scope

MOST = 200  # of a tenant, and of the platform
TYPE = ("kind", "minimum", "maximum", "choices")
SAID = ("label", "description", *TYPE, "default", "device_may_write")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A setting as the tenant's devices have it; the sources are `platform` or `tenant`."""

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
    """The settings of the current tenant's devices, by key."""
    known = {
        row.key: _preference(row, source="platform")
        for row in PlatformPreference.objects.all()
    }
    for row in PreferenceDefinition.objects.all():
        base = known.get(row.key)
        if base is None:
            known[row.key] = _preference(row, source="tenant")
        elif fault(base, row.default) is None:  # else the platform has changed its type
            known[row.key] = _narrowed(base, row)
    return dict(sorted(known.items()))


def fingerprint(preferences: dict[str, Preference]) -> str:
    """The same as long as devices would read the same."""
    said = [
        [p.key, p.kind, p.minimum, p.maximum, p.choices, p.default, p.device_may_write]
        for p in preferences.values()
    ]
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


@transaction.atomic
def define(
    *, key: str, must_be_new: bool = False, now: datetime, **said: Any
) -> PreferenceDefinition:
    """A setting of the current tenant's devices, in the place of what it was before.

    Of one of the platform's the default and who may write it are taken.

    Raises:
        PreferenceExists: it must be new, and the tenant has one of this key.
        InvalidDefinition: it cannot be so, or the default is no value of it.
        TooManyDefinitions: there are as many as there can be.
    """
    in_turn(f"preferences of {current_tenant_id()}")
    of_platform = PlatformPreference.objects.filter(key=key).first()
    if of_platform is not None:
        said |= {name: getattr(of_platform, name) for name in TYPE}
    row: PreferenceDefinition | None = PreferenceDefinition.objects.filter(
        key=key
    ).first()
    if row is not None and must_be_new:
        raise PreferenceExists
    if row is None and PreferenceDefinition.objects.count() >= MOST:
        raise TooManyDefinitions(f"There are {MOST} preferences already.")
    row = row or PreferenceDefinition(key=key)
    _define(row, said, now, tenant_id=current_tenant_id())
    return row


@transaction.atomic
def define_for_platform(
    *, key: str, must_be_new: bool = False, now: datetime, **said: Any
) -> PlatformPreference:
    """A setting of every tenant's devices; see `define`."""
    in_turn("preferences of the platform")
    row = PlatformPreference.objects.filter(key=key).first()
    if row is not None and must_be_new:
        raise PreferenceExists
    if row is None and PlatformPreference.objects.count() >= MOST:
        raise TooManyDefinitions(f"There are {MOST} preferences already.")
    row = row or PlatformPreference(key=key)
    _define(row, said, now, tenant_id=None)
    return row


@transaction.atomic
def remove(*, key: str, now: datetime) -> None:
    """Take a tenant's definition away; what devices have of it is kept, unseen.

    Raises:
        NoSuchDefinition: the tenant has none of this key.
    """
    if not re.fullmatch(KEY, key):
        raise NoSuchDefinition
    count, _ = PreferenceDefinition.objects.filter(key=key).delete()
    if not count:
        raise NoSuchDefinition
    record([PreferenceRemoved(tenant_id=current_tenant_id(), at=now, key=key)])


@transaction.atomic
def remove_from_platform(*, key: str, now: datetime) -> None:
    """Take one of the platform's away; see `remove`."""
    count, _ = PlatformPreference.objects.filter(key=key).delete()
    if not count:
        raise NoSuchDefinition
    with every_tenant_scope():
        record([PreferenceRemoved(tenant_id=None, at=now, key=key)])


def _define(
    row: Definition, said: dict[str, Any], now: datetime, *, tenant_id: Any
) -> None:
    before = {name: getattr(row, name) for name in SAID}
    is_new = row._state.adding
    for name, value in said.items():
        setattr(row, name, value)
    _check(row)
    row.updated_at = now
    row.save()
    changes = {
        name: (None if is_new else before[name], getattr(row, name))
        for name in SAID
        if is_new or not same(before[name], getattr(row, name))
    }
    if changes:
        about = {"tenant_id": tenant_id, "at": now, "key": row.key}
        with every_tenant_scope() if tenant_id is None else nullcontext():
            record([PreferenceDefined(**about, changes=changes)])


def _check(row: Definition) -> None:
    if row.kind not in Kind.values:
        raise InvalidDefinition("What kind of setting is it?", field="kind")
    if row.kind != "integer":
        row.minimum = row.maximum = None
    if row.kind != "choice":
        row.choices = []
    if found := definition_fault(row.key, row):
        raise InvalidDefinition(found[1], field=found[0])
    if said := fault(row, row.default):
        raise InvalidDefinition(said, field="default")
    row.label = row.label or row.key.replace("_", " ").capitalize()


def _preference(row: Definition, *, source: str) -> Preference:
    said = {name: getattr(row, name) for name in SAID}
    return Preference(key=row.key, source=source, default_source=source, **said)


def _narrowed(base: Preference, row: PreferenceDefinition) -> Preference:
    said = {name: getattr(base, name) for name in TYPE}
    return Preference(
        key=row.key,
        label=row.label or base.label,
        description=row.description or base.description,
        default=row.default,
        device_may_write=row.device_may_write,
        source="platform",
        default_source="tenant",
        **said,
    )
