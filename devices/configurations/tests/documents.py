"""Test helpers that save layers, tag devices and process rounds."""

from datetime import datetime
from typing import Any

from devices.configurations.models import DeviceConfiguration, Scope
from devices.configurations.services import layers, recalculation
from devices.configurations.services.layers import Subject
from devices.registry.models import Device, DeviceTag, NextSteps, Tag
from tenants.context import tenant_scope
from tenants.models import Tenant


def save_for_tenant(
    tenant: Tenant, document: Any, *, now: datetime, **options: Any
) -> DeviceConfiguration:
    with tenant_scope(tenant.pk):
        subject = Subject(Scope.TENANT)
        return layers.save(subject=subject, document=document, now=now, **options)


def save_for_tag(tag: Tag, document: Any, *, now: datetime, **options: Any) -> DeviceConfiguration:
    with tenant_scope(tag.tenant_id):
        subject = Subject(Scope.TAG, tag=tag)
        return layers.save(subject=subject, document=document, now=now, **options)


def save_for_device(
    device: Device, document: Any, *, now: datetime, **options: Any
) -> DeviceConfiguration:
    with tenant_scope(device.tenant_id):
        subject = Subject(Scope.DEVICE, device=device)
        return layers.save(subject=subject, document=document, now=now, **options)


def add_tag(device: Device, tag: Tag) -> None:
    DeviceTag.every_tenant.create(tenant=device.tenant, device=device, tag=tag)


def process_rounds(now: datetime) -> int:
    """Process all rounds as the worker does. Return the number of batches."""
    batches = 0
    while recalculation.process_batch(now=now):
        batches += 1
    return batches


def next_steps_of(device: Device) -> NextSteps:
    return NextSteps.every_tenant.get(device=device)
