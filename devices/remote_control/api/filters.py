"""How commands are narrowed in lists, and how a bulk command finds its devices."""

from collections.abc import Mapping

import django_filters
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from rest_framework.exceptions import ValidationError

from devices.api.filters import DeviceFilter
from devices.models import Device
from devices.remote_control.command_types import CHOICES
from devices.remote_control.errors import InvalidFilter
from devices.remote_control.models import CommandHistory, Status


class CommandFilter(FilterSet):
    """`status`, `type`, and of which session or bulk command they are."""

    status = django_filters.ChoiceFilter(choices=Status.choices)
    type = django_filters.ChoiceFilter(choices=CHOICES)
    session = django_filters.UUIDFilter()
    bulk = django_filters.UUIDFilter()

    Backend = DjangoFilterBackend

    class Meta:
        model = CommandHistory
        fields = ("status", "type")


def found(filter: Mapping[str, str]) -> QuerySet[Device]:
    """The devices that the list of devices shows with the same parameters.

    Raises:
        InvalidFilter: there is no such parameter, or not with this value.
    """
    if unknown := sorted(set(filter) - set(DeviceFilter.base_filters)):
        raise InvalidFilter(dict.fromkeys(unknown[:20], "There is no such parameter."))
    if filter.get("status") == Device.Status.RETIRED:
        raise InvalidFilter({"status": "A retired device is told nothing."})
    narrowing = DeviceFilter(data=dict(filter), queryset=Device.objects.all())
    if not narrowing.is_valid():
        told = {name: str(said[0]) for name, said in narrowing.errors.items()}
        raise InvalidFilter(told)
    try:
        devices: QuerySet[Device] = narrowing.qs
    except ValidationError as error:
        raise InvalidFilter({"status": "One of the statuses, or nothing."}) from error
    return devices
