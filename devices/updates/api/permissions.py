"""Permissions of the API of software updates."""

from devices.updates.models import SoftwareUpdate, UpdatePolicy, UpdateSigningKey
from tenants.api.permissions import IsMember


class MayPublish(IsMember):
    """All members can read; admins and owners can change products and packages."""

    writes = SoftwareUpdate.managed_by


class MaySetPolicy(IsMember):
    """All members can read the update policy; admins and owners can change it."""

    writes = UpdatePolicy.managed_by


class MayUseKeys(IsMember):
    reads = UpdateSigningKey.seen_by
    writes = UpdateSigningKey.managed_by
