"""Who may control devices, by the names of the permissions."""

from devices.remote_control.models import RemoteControlPolicy, RemoteControlSession
from tenants.api.permissions import IsMember


class MayControl(IsMember):
    """Any member looks on; `manage_remote_control` is needed to do anything."""

    writes = RemoteControlSession.grants["manage_remote_control"]


class MaySetPolicy(IsMember):
    """Any member reads what may be commanded; an admin or owner says it."""

    writes = RemoteControlPolicy.managed_by
