"""The configuration of many devices."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from core.errors import DomainError
from devices.bulk.actions import BulkAction, Done, Input, Outcome
from devices.bulk.errors import InvalidParameters
from devices.configurations.errors import ConfigurationChanged
from devices.configurations.models import DeviceConfiguration, Scope
from devices.configurations.services import layers
from devices.configurations.services.layers import Subject
from devices.registry.models import Device

CHANGED_SINCE = "Its configuration was changed since."


def actions() -> Sequence[BulkAction]:
    """Return the actions of this package."""
    return (Configure(),)


class Configure(BulkAction):
    """Change keys in the own layer of each device (JSON Merge Patch, RFC 7396)."""

    name = "configure"
    label = "Configure"
    explanation = (
        "The keys are set in the own layer of each device, above those of its tags and sites. Its"
        " other keys stay. A key with the value null is removed. You can undo this."
    )
    can_undo = True
    batch = 50
    inputs = (
        Input(
            "document",
            "Keys and values",
            'JSON, such as {"volume": 30, "brightness": 200}.',
            "json",
        ),
    )

    def validated(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if others := sorted(set(parameters) - {"document"}):
            raise InvalidParameters("This parameter does not exist.", field=others[0])
        document = parameters.get("document")
        if not isinstance(document, dict) or not document:
            raise InvalidParameters("A JSON object with a key is required.", field="document")
        try:
            layers.validated({key: value for key, value in document.items() if value is not None})
        except DomainError as error:
            sentences = [detail.sentence for detail in error.details] or [str(error)]
            raise InvalidParameters(" ".join(sentences)[:300], field="document") from error
        return {"document": document}

    def description(self, parameters: Mapping[str, Any]) -> str:
        return f"{self.label}: {', '.join(sorted(parameters['document']))}"

    def apply(
        self, devices: Sequence[Device], parameters: Mapping[str, Any], *, now: datetime
    ) -> list[Done]:
        return [_configured(device, parameters["document"], now) for device in devices]

    def revert(
        self,
        devices: Sequence[Device],
        before: Mapping[UUID, Any],
        parameters: Mapping[str, Any],
        *,
        now: datetime,
    ) -> list[Done]:
        return [_restored(device, before[device.pk], now) for device in devices]


def _configured(device: Device, patch: Mapping[str, Any], now: datetime) -> Done:
    subject = _subject(device)
    layer = layers.layer_of(subject)
    before = dict(layer.document) if layer else {}
    document = {key: value for key, value in {**before, **patch}.items() if value is not None}
    if document == before:
        return Done(device.pk, Outcome.UNCHANGED)
    saved = _saved(subject, document, _number(layer), now)
    if isinstance(saved, str):
        return Done(device.pk, Outcome.REFUSED, saved)
    return Done(device.pk, Outcome.DONE, before={"document": before, "number": saved.number})


def _restored(device: Device, before: Mapping[str, Any], now: datetime) -> Done:
    saved = _saved(_subject(device), before["document"], before["number"], now)
    if isinstance(saved, str):
        return Done(device.pk, Outcome.REFUSED, saved)
    return Done(device.pk, Outcome.DONE)


def _saved(
    subject: Subject, document: Any, based_on: int, now: datetime
) -> DeviceConfiguration | str:
    """Save a layer. Return it, or why it is refused."""
    try:
        with transaction.atomic():
            return layers.save(subject=subject, document=document, based_on=based_on, now=now)
    except ConfigurationChanged:
        return CHANGED_SINCE
    except DomainError as error:
        return str(error)[:300]


def _subject(device: Device) -> Subject:
    return Subject(scope=Scope.DEVICE, device=device)


def _number(layer: DeviceConfiguration | None) -> int:
    return layer.number if layer else 0
