"""Layers and their devices, for the tests."""

from datetime import datetime
from typing import Any

from devices.configurations.models import DeviceConfiguration, Scope
from devices.configurations.services import layers, recalculation
from devices.configurations.services.layers import Subject
from devices.registry.models import Device, DeviceTag, NextSteps, Tag
from tenants.context import tenant_scope
from tenants.models import Tenant


def for_tenant(
    tenant: Tenant, document: Any, *, now: datetime, **more: Any
) -> DeviceConfiguration:
    with tenant_scope(tenant.pk):
        subject = Subject(Scope.TENANT)
        return layers.save(subject=subject, document=document, now=now, **more)


def for_tag(
    tag: Tag, document: Any, *, now: datetime, **more: Any
) -> DeviceConfiguration:
    with tenant_scope(tag.tenant_id):
        subject = Subject(Scope.TAG, tag=tag)
        return layers.save(subject=subject, document=document, now=now, **more)


def for_device(
    device: Device, document: Any, *, now: datetime, **more: Any
) -> DeviceConfiguration:
    with tenant_scope(device.tenant_id):
        subject = Subject(Scope.DEVICE, device=device)
        return layers.save(subject=subject, document=document, now=now, **more)


def wear(device: Device, tag: Tag) -> None:
    DeviceTag.every_tenant.create(tenant=device.tenant, device=device, tag=tag)


def work_all(now: datetime) -> int:
    """What the worker does after a change; how many batches it took."""
    batches = 0
    while recalculation.work(now=now):
        batches += 1
    return batches


def told(device: Device) -> NextSteps:
    return NextSteps.every_tenant.get(device=device)
