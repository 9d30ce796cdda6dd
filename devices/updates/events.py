"""Domain events of packages, rollouts and updates of devices."""

from events.domain_events import DomainEvent


class PackageEvent(DomainEvent):
    """An event of a package; `package` is the id of the package."""

    link = ("package", "admin:updates_softwareupdate_change")

    package: str
    product: str
    version: str


class PackageUploaded(PackageEvent):
    """The file of a package was uploaded."""

    name = "package.uploaded"

    size: int  # bytes
    sha256: str


class PackageReleased(PackageEvent):
    """A package was released, so it can be rolled out."""

    name = "package.released"

    sha256: str


class PackageWithdrawn(PackageEvent):
    """A package was withdrawn. Devices do not get it any more."""

    name = "package.withdrawn"

    reason: str


class UpdateKeyReplaced(DomainEvent):
    """The update signing key was replaced; `thumbprint` identifies the new key (RFC 7638)."""

    name = "updates.key_replaced"

    thumbprint: str


class UpdatePolicyChanged(DomainEvent):
    """The update policy was changed; `changes` has the values before and after."""

    name = "updates.policy_changed"


class RolloutEvent(DomainEvent):
    """An event of a rollout; `rollout` is its id, `title` its name."""

    link = ("rollout", "admin:updates_deployment_change")

    rollout: str
    title: str


class RolloutCreated(RolloutEvent):
    """A rollout was created."""

    name = "rollout.created"

    package: str | None
    rolls_back: str | None  # id of the rollout that is rolled back


class RolloutChanged(RolloutEvent):
    """The settings of the rollout were changed; `changes` has the values before and after."""

    name = "rollout.changed"


class RolloutStateChanged(RolloutEvent):
    """The rollout changed its state; `changes` has the states before and after.

    `reason` is set when the rollout was paused or aborted for a stated reason.
    """

    name = "rollout.state_changed"

    state: str
    devices: int  # how many devices the rollout is for
    reason: str


class RolloutWaveStateChanged(RolloutEvent):
    """A wave was started, has passed, or has failed."""

    name = "rollout.wave"

    wave: int
    state: str


class RolloutHeld(RolloutEvent):
    """A wave waits for a member's decision.

    Too few devices have succeeded for the next wave, and too few have failed to pause the
    rollout.
    """

    name = "rollout.held"

    wave: int
    reason: str


class ProductRenamed(DomainEvent):
    """The product was renamed, and its packages were signed again.

    `changes` has the names before and after.
    """

    name = "product.renamed"

    product: str  # id


class RolloutRetried(RolloutEvent):
    """Failed devices get another attempt."""

    name = "rollout.retried"


class DeviceUpdateEvent(DomainEvent):
    """An event of a device in a rollout; `version` is the device's target version."""

    rollout: str
    version: str
    from_version: str


class DeviceUpdateCompleted(DeviceUpdateEvent):
    """A device runs the new version without alerts."""

    name = "update.completed"


class DeviceUpdateFailed(DeviceUpdateEvent):
    """The update of a device has failed."""

    name = "update.failed"

    error_code: str
    error: str


class DeviceRolledBack(DeviceUpdateEvent):
    """A device has returned to its earlier version."""

    name = "update.rolled_back"
