"""What happens to configurations."""

from events.domain_events import DomainEvent


class ConfigurationSaved(DomainEvent):
    """A layer has a new version; `changes` says which keys are different in it.

    `tenant_id` is None for the platform's; `device_id` is set for a device's own.
    """

    name = "configuration.saved"

    scope: str
    tag: str | None
    number: int
    note: str
    restored_number: int | None


class ConfigurationReordered(DomainEvent):
    """Which tag's configuration is stronger than which; `changes` has both orders."""

    name = "configuration.reordered"


class ReportEvent(DomainEvent):
    """`version` is the hash of the effective document."""

    version: str


class ConfigurationApplied(ReportEvent):
    """A device says that it has what it was told to have."""

    name = "configuration.applied"


class ConfigurationFailed(ReportEvent):
    """A device says why it could not do what it was told."""

    name = "configuration.failed"

    reason: str
    failed_keys: list[str]


class ConfigurationDrifted(ReportEvent):
    """A device that is online has not had for long what it should have."""

    name = "configuration.drifted"

    since: str
    applied_version: str | None


class ConfigurationConverged(DomainEvent):
    """A device of which that was announced has what it should have again."""

    name = "configuration.converged"
