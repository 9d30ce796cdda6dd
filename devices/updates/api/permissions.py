"""Who may do what with updates."""

from devices.updates.models import SoftwareUpdate, UpdatePolicy, UpdateSigningKey
from tenants.api.permissions import IsMember


class MayPublish(IsMember):
    """Any member reads; an admin or owner makes packages."""

    writes = SoftwareUpdate.managed_by


class MaySetPolicy(IsMember):
    """Any member reads how updates are rolled out; an admin or owner says it."""

    writes = UpdatePolicy.managed_by


class MayUseKeys(IsMember):
    reads = UpdateSigningKey.seen_by
    writes = UpdateSigningKey.managed_by
