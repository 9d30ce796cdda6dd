"""Test helpers: create products, packages, rollouts and devices, and send device reports."""

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from core.uploads import UploadedFile
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from devices.updates.models import (
    Deployment,
    DeploymentWave,
    SoftwareProduct,
    SoftwareUpdate,
    UpdateStatus,
)
from devices.updates.services import (
    feedback,
    packages,
    products,
    rollout_control,
    rollout_tick,
    rollouts,
)
from devices.updates.services.targets import WaveSize
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory

CONTENT = bytes(range(256)) * 40  # 10,240 bytes


def create_member(tenant: Tenant, role: Role = Role.ADMIN) -> User:
    user: User = MembershipFactory.create(tenant=tenant, role=role).user
    return user


def create_product(now: datetime, name: str = "player", **more: Any) -> SoftwareProduct:
    existing = SoftwareProduct.objects.filter(name=name).first()
    return existing or products.create(name=name, now=now, **more)


def create_draft(now: datetime, version: str = "2.0.0", **more: Any) -> SoftwareUpdate:
    product = more.pop("product", None) or create_product(now)
    return packages.create(product=product, version=version, now=now, **more)


def spool_file(folder: Path, content: bytes = CONTENT) -> UploadedFile:
    """Write content to a folder. Return it as an uploaded file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"upload-{len(list(folder.iterdir()))}"
    path.write_bytes(content)
    hashes = {name: hashlib.new(name, content).hexdigest() for name in ("sha256", "sha1", "md5")}
    return UploadedFile(str(path), len(content), **hashes)


def create_released_package(
    now: datetime, folder: Path, version: str = "2.0.0", **more: Any
) -> SoftwareUpdate:
    """Create and release a package."""
    content = more.pop("content", CONTENT)
    row = create_draft(now, version, **more)
    packages.receive(package=row, spooled=spool_file(folder, content), now=now)
    return packages.release(package=row, confirm_signer=True, now=now)


def create_devices(tenant: Tenant, size: int, **fields: Any) -> list[Device]:
    """Create devices that are online with version 1.0.0."""
    defaults = {"status": "online", "app_version": "1.0.0", "model": "X96"}
    return DeviceFactory.create_batch(size, tenant=tenant, **{**defaults, **fields})


def start_rollout(package: SoftwareUpdate, by: User, now: datetime, **settings: Any) -> Deployment:
    """Create and start a rollout: by default with one wave and without a soak time."""
    settings = {"waves": wave_sizes(100), "soak_minutes": 0, **settings}
    rollout = rollouts.create(package=package, values=settings, by=by, now=now)
    return rollout_control.start(deployment=rollout, by=by, now=now)


def wave_sizes(*percents: float) -> list[Any]:
    return [WaveSize(percent=percent) for percent in percents]


def run_due_steps(now: datetime) -> int:
    """Run all due steps of rollouts. Return the number of steps."""
    steps = 0
    while rollout_tick.advance_next_rollout(now=now):
        steps += 1
        assert steps < 500, "the rollouts never come to an end"
    return steps


def later(now: datetime, minutes: float = 1) -> datetime:
    return now + timedelta(minutes=minutes)


def status_counts(rollout: Deployment) -> dict[str, int]:
    counts: dict[str, int] = {}
    for status in UpdateStatus.objects.filter(deployment=rollout).values_list("status", flat=True):
        counts[status] = counts.get(status, 0) + 1
    return counts


def devices_in(rollout: Deployment, wave: int | None = None) -> set[Any]:
    """Return the ids of the devices that were offered the update of a rollout."""
    rows = UpdateStatus.objects.filter(deployment=rollout)
    if wave is not None:
        rows = rows.filter(wave__number=wave)
    return set(rows.values_list("device_id", flat=True))


def send_report(
    rollout: Deployment, device_id: Any, status: str, now: datetime, **more: Any
) -> None:
    device = Device.objects.get(pk=device_id)
    update = UpdateStatus.objects.get(deployment=rollout, device=device_id)
    fields = {"attempt": update.attempt, **more}
    feedback.record_feedback(
        device=device, deployment_id=rollout.pk, status=status, now=now, **fields
    )


def install_update(rollout: Deployment, device_id: Any, now: datetime) -> None:
    """Report as a device that an update is installed, and connect with the new version."""
    update = UpdateStatus.objects.get(deployment=rollout, device=device_id)
    send_report(rollout, device_id, "downloading", now, progress=50)
    send_report(rollout, device_id, "installing", now)
    send_report(rollout, device_id, "installed", now)
    Device.objects.filter(pk=device_id).update(
        app_version=update.version, status="online", last_seen=now
    )


def report_failure(rollout: Deployment, device_id: Any, now: datetime, **more: Any) -> None:
    fields = {"error_code": "no_space", "error": "The disk is full.", **more}
    send_report(rollout, device_id, "failed", now, **fields)


def create_rollout_rows(
    device: Device, now: datetime, *, by: User
) -> tuple[SoftwareProduct, SoftwareUpdate, Deployment, UpdateStatus]:
    """Create a product, a package, a rollout and the update of a device in this rollout."""
    tenant = device.tenant
    product = SoftwareProduct.every_tenant.create(
        tenant=tenant, name="Ours Unmistakably", created_at=now
    )
    package = SoftwareUpdate.every_tenant.create(
        tenant=tenant,
        product=product,
        version="7.7.7",
        changelog="Ours Unmistakably",
        created_by=by.email,
        created_at=now,
    )
    rollout = Deployment.every_tenant.create(
        tenant=tenant,
        name="Ours Unmistakably",
        product=product,
        package=package,
        created_by=by,
        created_at=now,
    )
    wave = DeploymentWave.every_tenant.create(
        tenant=tenant, deployment=rollout, number=1, percent=100.0
    )
    status = UpdateStatus.every_tenant.create(
        tenant=tenant,
        deployment=rollout,
        wave=wave,
        device=device,
        package=package,
        version=package.version,
        opened_at=now,
    )
    return product, package, rollout, status
