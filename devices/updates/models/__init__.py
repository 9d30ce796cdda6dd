"""Models of software updates."""

from devices.updates.models.deployments import Deployment, DeploymentWave
from devices.updates.models.packages import (
    SoftwareProduct,
    SoftwareUpdate,
    UpdatePolicy,
    UpdateSigningKey,
)
from devices.updates.models.statuses import OPEN, STOPPABLE, UNDER_WAY, Status, UpdateStatus

__all__ = [
    "OPEN",
    "STOPPABLE",
    "UNDER_WAY",
    "Deployment",
    "DeploymentWave",
    "SoftwareProduct",
    "SoftwareUpdate",
    "Status",
    "UpdatePolicy",
    "UpdateSigningKey",
    "UpdateStatus",
]
