from datetime import UTC, datetime
from uuid import uuid4

from factory import LazyAttribute, LazyFunction, SelfAttribute, Sequence, SubFactory

from devices.registry.identifiers import fold
from devices.registry.models import (
    Device,
    DeviceIdentifier,
    EnrollmentToken,
    IdentifierConflict,
    Site,
    Tag,
    UnreadableField,
)
from tenants.tests.factories import EveryTenantFactory, TenantFactory


class DeviceFactory(EveryTenantFactory):
    class Meta:
        model = Device

    tenant = SubFactory(TenantFactory)
    name = Sequence("TV-{:04}".format)
    registered_at = datetime(2026, 1, 1, tzinfo=UTC)


class DeviceIdentifierFactory(EveryTenantFactory):
    class Meta:
        model = DeviceIdentifier

    device = SubFactory(DeviceFactory)
    tenant = SelfAttribute("device.tenant")
    kind = "serial_number"
    written = Sequence("SN-{:06}".format)
    value = LazyAttribute(lambda row: fold(row.written))


class IdentifierConflictFactory(EveryTenantFactory):
    class Meta:
        model = IdentifierConflict

    holder = SubFactory(DeviceFactory)
    tenant = SelfAttribute("holder.tenant")
    kind = "serial_number"
    value = Sequence("shared-{:06}".format)
    first_seen_at = datetime(2026, 1, 1, tzinfo=UTC)
    last_seen_at = datetime(2026, 1, 1, tzinfo=UTC)


class UnreadableFieldFactory(EveryTenantFactory):
    class Meta:
        model = UnreadableField

    device = SubFactory(DeviceFactory)
    tenant = SelfAttribute("device.tenant")
    field = "battery_level"
    code = "out_of_range"
    detail = "Must be from 0 to 100."
    app_version = "2.1.0"
    first_seen_at = datetime(2026, 1, 1, tzinfo=UTC)
    last_seen_at = datetime(2026, 1, 1, tzinfo=UTC)


class SiteFactory(EveryTenantFactory):
    class Meta:
        model = Site

    tenant = SubFactory(TenantFactory)
    id = LazyFunction(uuid4)
    name = Sequence("Site {}".format)
    path = LazyAttribute(lambda row: [*(row.parent.path if row.parent else ()), row.id])
    parent = None
    created_at = datetime(2026, 1, 1, tzinfo=UTC)


class TagFactory(EveryTenantFactory):
    class Meta:
        model = Tag

    tenant = SubFactory(TenantFactory)
    name = Sequence("tag-{}".format)


class EnrollmentTokenFactory(EveryTenantFactory):
    class Meta:
        model = EnrollmentToken

    tenant = SubFactory(TenantFactory)
    name = "devices"
    digest = Sequence("{:064x}".format)
    hint = "enr_xxxx…"
    created_at = datetime(2026, 1, 1, tzinfo=UTC)
