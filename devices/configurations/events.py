"""Domain events of configurations."""

from events.domain_events import DomainEvent


class ConfigurationSaved(DomainEvent):
    """A layer has a new version. `changes` contains the keys that differ.

    `tenant_id` is None for the platform's layer. `device_id` is set for a device's own
    layer.
    """

    name = "configuration.saved"

    scope: str
    tag: str | None
    number: int
    note: str
    restored_number: int | None
    site: str | None = None


class ConfigurationReordered(DomainEvent):
    """The order of the tags' layers has changed. `changes` has the old and the new order."""

    name = "configuration.reordered"


class ReportEvent(DomainEvent):
    """Base of the events about a device's configuration.

    `version` is the hash of the effective document.
    """

    version: str


class ConfigurationApplied(ReportEvent):
    """A device reports that it has applied a version."""

    name = "configuration.applied"


class ConfigurationFailed(ReportEvent):
    """A device reports that it could not apply a version, and the reason."""

    name = "configuration.failed"

    reason: str
    failed_keys: list[str]


class ConfigurationDrifted(ReportEvent):
    """An online device has not applied its desired configuration within the time limit."""

    name = "configuration.drifted"

    since: str
    applied_version: str | None


class ConfigurationConverged(DomainEvent):
    """A drifted device has its desired configuration again, or was retired."""

    name = "configuration.converged"
