"""Move a device to another tenant, on behalf of an operator."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from core.querysets import first_or_raise
from devices.registry.device_report import DeviceReport
from devices.registry.errors import DeviceNotFound, InvalidMove
from devices.registry.models import Device, DeviceHardware, DeviceIdentifier
from devices.registry.queries import lock_device
from devices.registry.services.credentials import issue_device_token
from devices.registry.services.registration import register_identified
from devices.registry.services.retirement import retire
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Tenant


@transaction.atomic
def move(*, device_id: UUID, to: Tenant, now: datetime) -> tuple[Device, str]:
    """End the credentials of a device, and start a new record in another tenant.

    The old record is retired and keeps its history in its tenant. The new record has the
    name, the hardware and the identifiers of the device, and nothing else. If the new record
    cannot be created, nothing changes.

    Returns:
        The new record, and the token of the device, which is not stored.

    Raises:
        DeviceNotFound: no tenant has this device.
        DeviceIsRetired: the device is retired.
        InvalidMove: the device belongs to the tenant already.
        AlreadyRegistered: the tenant has a device with one of the identifiers.
    """
    with every_tenant_scope():
        device = first_or_raise(Device.every_tenant.filter(pk=device_id), DeviceNotFound)
    if device.tenant_id == to.pk:
        raise InvalidMove("The device belongs to this tenant already.")
    with tenant_scope(device.tenant_id):
        device = lock_device(device.pk)
        rows = DeviceIdentifier.objects.in_use().filter(device=device)
        identifiers = [row.identifier for row in rows]
        report = _report(device)
        retire(device=device, reason=f"moved to the tenant {to.slug}", now=now)
    with tenant_scope(to.pk):
        moved = register_identified(report, identifiers, now=now)
        return moved, issue_device_token(moved, now=now)


def _report(device: Device) -> DeviceReport:
    hardware = DeviceHardware.objects.filter(device=device).first() or DeviceHardware()
    return DeviceReport(
        name=device.name,
        model=device.model,
        app_version=device.app_version,
        os_version=device.os_version,
        manufacturer=hardware.manufacturer,
        screen_width=hardware.screen_width,
        screen_height=hardware.screen_height,
        abis=hardware.abis,
        signature_algorithms=[hardware.signature_algorithm],
    )
