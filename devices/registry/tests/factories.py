from datetime import UTC, datetime

from factory import SelfAttribute, Sequence, SubFactory

from devices.registry.models import Device, DeviceIdentifier, EnrollmentToken, Tag
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
    value = Sequence("SN-{:06}".format)


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
