"""What happens to configurations."""

from dataclasses import dataclass
from typing import ClassVar

from events.services.outbox import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationSaved(Fact):
    """A layer has a new version; `changes` says which keys are different in it.

    `tenant_id` is None for the platform's; `device_id` is set for a device's own.
    """

    name: ClassVar = "configuration.saved"

    scope: str
    tag: str | None
    number: int
    note: str
    restored_number: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationReordered(Fact):
    """Which tag's configuration is stronger than which; `changes` has both orders."""

    name: ClassVar = "configuration.reordered"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFact(Fact):
    """`version` is the hash of the effective document."""

    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationApplied(ReportFact):
    """A device says that it has what it was told to have."""

    name: ClassVar = "configuration.applied"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationFailed(ReportFact):
    """A device says why it could not do what it was told."""

    name: ClassVar = "configuration.failed"

    reason: str
    failed_keys: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationDrifted(ReportFact):
    """A device that is online has not had for long what it should have."""

    name: ClassVar = "configuration.drifted"

    since: str
    applied_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationConverged(Fact):
    """A device of which that was announced has what it should have again."""

    name: ClassVar = "configuration.converged"
