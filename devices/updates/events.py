"""What happens to packages, rollouts, and devices in them."""

from dataclasses import dataclass
from typing import ClassVar

from events.services.outbox import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFact(Fact):
    """`package` is an id."""

    package: str
    product: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageUploaded(PackageFact):
    name: ClassVar = "package.uploaded"

    size: int  # bytes
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageReleased(PackageFact):
    name: ClassVar = "package.released"

    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageWithdrawn(PackageFact):
    name: ClassVar = "package.withdrawn"

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateKeyReplaced(Fact):
    """`thumbprint` is the new key's (RFC 7638)."""

    name: ClassVar = "updates.key_replaced"

    thumbprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePolicyChanged(Fact):
    """`changes` has what was wanted and what is."""

    name: ClassVar = "updates.policy_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutFact(Fact):
    """`rollout` is an id; `title` its name."""

    rollout: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutCreated(RolloutFact):
    name: ClassVar = "rollout.created"

    package: str | None
    rolls_back: str | None  # the rollout of which this is the way back


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutChanged(RolloutFact):
    """`changes` has the terms before and after."""

    name: ClassVar = "rollout.changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutMoved(RolloutFact):
    """It is in another state; `changes` has both, `reason` says why where that matters."""

    name: ClassVar = "rollout.state_changed"

    state: str
    devices: int  # that it was counted to be for
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutWaveMoved(RolloutFact):
    """A wave was opened, has passed, or has failed."""

    name: ClassVar = "rollout.wave"

    wave: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutHeld(RolloutFact):
    """Too few succeeded for the next wave, and too few have tried to be certain."""

    name: ClassVar = "rollout.held"

    wave: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRenamed(Fact):
    """`changes` has both names; its packages are signed anew."""

    name: ClassVar = "product.renamed"

    product: str  # id


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRetried(RolloutFact):
    """What has failed is tried again."""

    name: ClassVar = "rollout.retried"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUpdateFact(Fact):
    """`rollout` is an id; `version` the one that the device was to have."""

    rollout: str
    version: str
    from_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUpdateCompleted(DeviceUpdateFact):
    name: ClassVar = "update.completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUpdateFailed(DeviceUpdateFact):
    name: ClassVar = "update.failed"

    error_code: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRolledBack(DeviceUpdateFact):
    name: ClassVar = "update.rolled_back"
