"""Online devices for the benchmarks."""

from django.utils import timezone

from devices.registry.models import Device, DeviceToken, NextSteps
from tenants import tokens
from tenants.models import Tenant


def create_devices(
    count: int, *, tenants: int = 1, configuration_version: str | None = None
) -> list[str]:
    """Create online devices of new tenants, in turn. Return their tokens.

    Args:
        tenants: The first has the slug `bench`.
        configuration_version: The version in the next steps. None: there are no next steps.
    """
    now = timezone.now()
    owners = Tenant.objects.bulk_create(
        Tenant(slug=f"bench-{number}" if number else "bench", name="Bench")
        for number in range(tenants)
    )
    devices = Device.every_tenant.bulk_create(
        Device(
            tenant=owners[number % tenants],
            name=f"TV-{number}",
            status="online",
            last_seen=now,
            ip_address="127.0.0.1",
            app_version="2.1.0",
            os_version="9",
            registered_at=now,
        )
        for number in range(count)
    )
    if configuration_version is not None:
        NextSteps.every_tenant.bulk_create(
            NextSteps(
                tenant_id=device.tenant_id,
                device=device,
                configuration_version=configuration_version,
            )
            for device in devices
        )
    device_tokens = [tokens.make(DeviceToken.prefix) for _ in devices]
    DeviceToken.every_tenant.bulk_create(
        DeviceToken(
            tenant_id=device.tenant_id, device=device, digest=tokens.digest(token), issued_at=now
        )
        for device, token in zip(devices, device_tokens, strict=True)
    )
    return device_tokens
