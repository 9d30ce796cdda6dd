"""Products, packages, rollouts and devices that obey, for tests."""

import hashlib
import io
import struct
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from core.uploads import Spooled
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
)
from devices.updates.services import (
    rollouts as deployments,
)
from devices.updates.services.targets import Size
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
BY_RESOURCE = {
    "versionCode": 0x0101021B,
    "versionName": 0x0101021C,
    "minSdkVersion": 0x0101020C,
    "targetSdkVersion": 0x01010270,
}


def person(tenant: Tenant, role: Role = Role.ADMIN) -> User:
    user: User = MembershipFactory.create(tenant=tenant, role=role).user
    return user


def product(now: datetime, name: str = "player", **more: Any) -> SoftwareProduct:
    known = SoftwareProduct.objects.filter(name=name).first()
    return known or products.create(name=name, now=now, **more)


def draft(now: datetime, version: str = "2.0.0", **more: Any) -> SoftwareUpdate:
    of = more.pop("product", None) or product(now)
    return packages.create(product=of, version=version, now=now, **more)


def spooled(folder: Path, content: bytes = CONTENT) -> Spooled:
    """A file that has come in."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"upload-{len(list(folder.iterdir()))}"
    path.write_bytes(content)
    return Spooled(str(path), len(content), hashlib.sha256(content).hexdigest())


def released(
    now: datetime, folder: Path, version: str = "2.0.0", **more: Any
) -> SoftwareUpdate:
    """A package that may be rolled out."""
    content = more.pop("content", CONTENT)
    row = draft(now, version, **more)
    packages.receive(package=row, spooled=spooled(folder, content), now=now)
    return packages.release(package=row, now=now)


def fleet(tenant: Tenant, size: int, **fields: Any) -> list[Device]:
    """Devices that are online with version 1.0.0."""
    usual = {"status": "online", "app_version": "1.0.0", "model": "X96"}
    made: list[Device] = DeviceFactory.create_batch(
        size, tenant=tenant, **{**usual, **fields}
    )
    return made


def started(
    package: SoftwareUpdate, by: User, now: datetime, **said: Any
) -> Deployment:
    """A rollout that has begun: by default to everybody at once, without soaking."""
    terms = {"waves": sizes(100), "soak_minutes": 0, **said}
    row = deployments.create(package=package, said=terms, by=by, now=now)
    return rollout_control.start(deployment=row, by=by, now=now)


def sizes(*percents: float) -> list[Any]:
    return [Size(percent=percent) for percent in percents]


def tick(now: datetime) -> int:
    """All that is due; how many steps that were."""
    steps = 0
    while rollout_tick.tick(now=now):
        steps += 1
        assert steps < 500, "it never comes to rest"
    return steps


def later(now: datetime, minutes: float = 1) -> datetime:
    return now + timedelta(minutes=minutes)


def statuses(row: Deployment) -> dict[str, int]:
    counted: dict[str, int] = {}
    for status in UpdateStatus.objects.filter(deployment=row).values_list(
        "status", flat=True
    ):
        counted[status] = counted.get(status, 0) + 1
    return counted


def given(row: Deployment, wave: int | None = None) -> set[Any]:
    """The devices that have the update before them."""
    rows = UpdateStatus.objects.filter(deployment=row)
    if wave is not None:
        rows = rows.filter(wave__number=wave)
    return set(rows.values_list("device_id", flat=True))


def says(
    row: Deployment, device_id: Any, status: str, now: datetime, **more: Any
) -> None:
    device = Device.objects.get(pk=device_id)
    mine = UpdateStatus.objects.get(deployment=row, device=device_id)
    said = {"attempt": mine.attempt, **more}
    feedback.record_feedback(
        device=device, deployment_id=row.pk, status=status, now=now, **said
    )


def updates(row: Deployment, device_id: Any, now: datetime) -> None:
    """A device does all that it is told and comes back with the version."""
    mine = UpdateStatus.objects.get(deployment=row, device=device_id)
    says(row, device_id, "downloading", now, progress=50)
    says(row, device_id, "installing", now)
    says(row, device_id, "installed", now)
    Device.objects.filter(pk=device_id).update(
        app_version=mine.version, status="online", last_seen=now
    )


def fails(row: Deployment, device_id: Any, now: datetime, **more: Any) -> None:
    said = {"error_code": "no_space", "error": "The disk is full.", **more}
    says(row, device_id, "failed", now, **said)


def apk(
    application_id: str = "com.example.player", *, utf8: bool = True, **attributes: Any
) -> bytes:
    """A package with a binary manifest, as Android's own tools write it."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "AndroidManifest.xml", manifest(application_id, utf8, attributes)
        )
        archive.writestr("classes.dex", b"dex" * 100)
    return data.getvalue()


def manifest(application_id: str, utf8: bool, attributes: dict[str, Any]) -> bytes:
    said = {"versionCode": 7, "versionName": "2.0.0", **attributes}
    named = [name for name in said if name in BY_RESOURCE]
    texts = [*named, "package", "manifest", "application", application_id]
    texts += [value for value in said.values() if isinstance(value, str)]
    rows = [_attribute(texts, "package", application_id)]
    rows += [_attribute(texts, name, said[name]) for name in named]
    numbers = struct.pack(
        f"<HHI{len(named)}I",
        *(0x0180, 8, 8 + 4 * len(named)),
        *(BY_RESOURCE[name] for name in named),
    )
    chunks = (
        _strings(texts, utf8)
        + numbers
        + _element(texts.index("manifest"), rows)
        + _element(texts.index("application"), [])
    )
    return struct.pack("<HHI", 3, 8, 8 + len(chunks)) + chunks


def _strings(texts: list[str], utf8: bool) -> bytes:
    places, data = [], b""
    for text in texts:
        places.append(len(data))
        if utf8:
            raw = text.encode()
            data += bytes([len(text), len(raw)]) + raw + b"\0"
        else:
            data += struct.pack("<H", len(text)) + text.encode("utf-16-le") + b"\0\0"
    data += b"\0" * (-len(data) % 4)
    start = 28 + 4 * len(texts)
    head = struct.pack(
        "<HHIIIIII",
        *(1, 28, start + len(data), len(texts), 0, 0x100 if utf8 else 0, start, 0),
    )
    return head + struct.pack(f"<{len(texts)}I", *places) + data


def _attribute(texts: list[str], name: str, value: Any) -> bytes:
    is_text = isinstance(value, str)
    number = texts.index(value) if is_text else value
    raw = number if is_text else 0xFFFFFFFF
    kind = 0x03 if is_text else 0x10
    return struct.pack(
        "<IIIHBBI", 0xFFFFFFFF, texts.index(name), raw, 8, 0, kind, number
    )


def _element(name: int, rows: list[bytes]) -> bytes:
    body = struct.pack(
        "<IIIIHHHHHH",
        *(1, 0xFFFFFFFF, 0xFFFFFFFF, name, 20, 20, len(rows), 0, 0, 0),
    )
    data = body + b"".join(rows)
    return struct.pack("<HHI", 0x0102, 16, 8 + len(data)) + data


def in_a_rollout(
    device: Device, now: datetime, *, by: User
) -> tuple[SoftwareProduct, SoftwareUpdate, Deployment, UpdateStatus]:
    """A product, a package of it, and a rollout that a device is in."""
    tenant = device.tenant
    of = SoftwareProduct.every_tenant.create(
        tenant=tenant, name="Ours Unmistakably", created_at=now
    )
    package = SoftwareUpdate.every_tenant.create(
        tenant=tenant,
        product=of,
        version="7.7.7",
        changelog="Ours Unmistakably",
        created_by=by.email,
        created_at=now,
    )
    row = Deployment.every_tenant.create(
        tenant=tenant,
        name="Ours Unmistakably",
        product=of,
        package=package,
        created_by=by,
        created_at=now,
    )
    wave = DeploymentWave.every_tenant.create(
        tenant=tenant, deployment=row, number=1, percent=100.0
    )
    status = UpdateStatus.every_tenant.create(
        tenant=tenant,
        deployment=row,
        wave=wave,
        device=device,
        package=package,
        version=package.version,
        opened_at=now,
    )
    return of, package, row, status
