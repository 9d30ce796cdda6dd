"""What a bulk operation can do with devices."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction

from core.errors import DomainError
from devices.bulk.errors import InvalidParameters
from devices.bulk.models import BulkResult
from devices.registry.models import Device

Outcome = BulkResult.Outcome


@dataclass(frozen=True, slots=True)
class Done:
    """What an action did with a device.

    Attributes:
        before: what `BulkAction.revert` needs, as JSON; None if there is nothing to undo.
    """

    device_id: UUID
    outcome: str
    detail: str = ""
    before: Any = None


@dataclass(frozen=True, slots=True)
class Input:
    """An input of the portal for a parameter.

    Attributes:
        kind: "tags" for a list of tags, separated by commas, "site" for the name of a site or
            nothing, or "json".
    """

    name: str
    label: str
    help_text: str
    kind: str


class BulkAction(ABC):
    """An action on many devices.

    Attributes:
        inputs: of the parameters, in the portal.
        name: identifies the action in the API.
        label: for people, such as "Add tags".
        explanation: what happens to each device, for people who are about to start it.
        is_harmful: whether the portal shows the button that starts it in red.
        can_undo: whether `revert` is implemented.
        batch: devices in one transaction. They are locked until it ends.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    explanation: ClassVar[str]
    is_harmful: ClassVar[bool] = False
    can_undo: ClassVar[bool] = False
    batch: ClassVar[int] = 500
    inputs: ClassVar[Sequence[Input]] = ()

    def validated(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters as they are stored.

        Raises:
            InvalidParameters: an unknown parameter, or an invalid value.
        """
        if unknown := sorted(parameters):
            raise InvalidParameters("This parameter does not exist.", field=unknown[0])
        return {}

    def description(self, parameters: Mapping[str, Any]) -> str:
        """Return what the action does, such as `Add tags: lobby`."""
        return self.label

    @abstractmethod
    def apply(
        self, devices: Sequence[Device], parameters: Mapping[str, Any], *, now: datetime
    ) -> list[Done]:
        """Change devices of the current tenant. They are locked and not retired."""

    def revert(
        self,
        devices: Sequence[Device],
        before: Mapping[UUID, Any],
        parameters: Mapping[str, Any],
        *,
        now: datetime,
    ) -> list[Done]:
        """Undo the action for devices, unless they were changed otherwise meanwhile.

        Args:
            before: what `apply` has returned for each device.
        """
        raise NotImplementedError


class EachDevice(BulkAction):
    """An action that calls a service for each device. An error of one device stops no other."""

    batch = 50

    @abstractmethod
    def change(self, device: Device, *, now: datetime) -> Done:
        """Change one device.

        Raises:
            DomainError: it cannot be changed.
        """

    def restore(self, device: Device, before: Any, *, now: datetime) -> Done:
        """Undo the change of one device.

        Raises:
            DomainError: it cannot be undone.
        """
        raise NotImplementedError

    def apply(
        self, devices: Sequence[Device], parameters: Mapping[str, Any], *, now: datetime
    ) -> list[Done]:
        return [self._one(device, None, now) for device in devices]

    def revert(
        self,
        devices: Sequence[Device],
        before: Mapping[UUID, Any],
        parameters: Mapping[str, Any],
        *,
        now: datetime,
    ) -> list[Done]:
        return [self._one(device, before[device.pk], now) for device in devices]

    def _one(self, device: Device, before: Any, now: datetime) -> Done:
        try:
            with transaction.atomic():
                if before is None:
                    return self.change(device, now=now)
                return self.restore(device, before, now=now)
        except DomainError as error:
            return Done(device.pk, Outcome.REFUSED, str(error)[:300])
