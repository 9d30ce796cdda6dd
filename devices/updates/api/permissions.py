"""Permissions of the API of software updates."""

from devices.updates.models import SoftwareUpdate, UpdatePolicy, UpdateSigningKey
from tenants.api.permissions import IsMember


class MayPublish(IsMember):
    """All members can read; admins and owners can change products and packages."""

    writes = SoftwareUpdate.manage_role


class MaySetPolicy(IsMember):
    """All members can read the update policy; admins and owners can change it."""

    writes = UpdatePolicy.manage_role


class MayUseKeys(IsMember):
    reads = UpdateSigningKey.view_role
    writes = UpdateSigningKey.manage_role
