"""API permissions of remote control."""

from devices.remote_control.models import RemoteControlPolicy, RemoteControlSession
from tenants.api.permissions import IsMember


class MayControl(IsMember):
    """Every member may read; writing requires `manage_remote_control`."""

    writes = RemoteControlSession.grants["manage_remote_control"]


class MaySetPolicy(IsMember):
    """Every member may read the policy; changing it requires an admin or owner."""

    writes = RemoteControlPolicy.manage_role
