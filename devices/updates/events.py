"""What happens to packages, rollouts, and devices in them."""

from events.domain_events import DomainEvent


class PackageEvent(DomainEvent):
    """`package` is an id."""

    package: str
    product: str
    version: str


class PackageUploaded(PackageEvent):
    name = "package.uploaded"

    size: int  # bytes
    sha256: str


class PackageReleased(PackageEvent):
    name = "package.released"

    sha256: str


class PackageWithdrawn(PackageEvent):
    name = "package.withdrawn"

    reason: str


class UpdateKeyReplaced(DomainEvent):
    """`thumbprint` is the new key's (RFC 7638)."""

    name = "updates.key_replaced"

    thumbprint: str


class UpdatePolicyChanged(DomainEvent):
    """`changes` has what was wanted and what is."""

    name = "updates.policy_changed"


class RolloutEvent(DomainEvent):
    """`rollout` is an id; `title` its name."""

    rollout: str
    title: str


class RolloutCreated(RolloutEvent):
    name = "rollout.created"

    package: str | None
    rolls_back: str | None  # the rollout of which this is the way back


class RolloutChanged(RolloutEvent):
    """`changes` has the terms before and after."""

    name = "rollout.changed"


class RolloutMoved(RolloutEvent):
    """It is in another state; `changes` has both, `reason` says why where that matters."""

    name = "rollout.state_changed"

    state: str
    devices: int  # that it was counted to be for
    reason: str


class RolloutWaveMoved(RolloutEvent):
    """A wave was opened, has passed, or has failed."""

    name = "rollout.wave"

    wave: int
    state: str


class RolloutHeld(RolloutEvent):
    """Too few succeeded for the next wave, and too few have tried to be certain."""

    name = "rollout.held"

    wave: int
    reason: str


class ProductRenamed(DomainEvent):
    """`changes` has both names; its packages are signed anew."""

    name = "product.renamed"

    product: str  # id


class RolloutRetried(RolloutEvent):
    """What has failed is tried again."""

    name = "rollout.retried"


class DeviceUpdateEvent(DomainEvent):
    """`rollout` is an id; `version` the one that the device was to have."""

    rollout: str
    version: str
    from_version: str


class DeviceUpdateCompleted(DeviceUpdateEvent):
    name = "update.completed"


class DeviceUpdateFailed(DeviceUpdateEvent):
    name = "update.failed"

    error_code: str
    error: str


class DeviceRolledBack(DeviceUpdateEvent):
    name = "update.rolled_back"
