"""How commands are narrowed in lists, and how a bulk command finds its devices."""

import re
from collections.abc import Mapping
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from rest_framework.exceptions import ValidationError

from devices.registry.api.filters import DeviceFilter
from devices.registry.models import Device
from devices.remote_control.command_types import CHOICES
from devices.remote_control.errors import InvalidFilter
from devices.remote_control.models import CommandHistory, Status

CANONICAL = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class IdField(forms.UUIDField):
    """An id as it is answered; Python takes half a dozen other forms as well."""

    widget = forms.TextInput

    def to_python(self, value: Any) -> Any:
        if value is not None and not CANONICAL.fullmatch(value):
            raise forms.ValidationError(self.error_messages["invalid"], "invalid")
        return super().to_python(value)


class IdFilter(django_filters.UUIDFilter):
    field_class = IdField


class CommandFilter(FilterSet):
    """`status`, `type`, and of which session or bulk command they are."""

    status = django_filters.ChoiceFilter(choices=Status.choices)
    type = django_filters.ChoiceFilter(choices=CHOICES)
    session = IdFilter()
    bulk = IdFilter()

    Backend = DjangoFilterBackend

    class Meta:
        model = CommandHistory
        fields = ("status", "type")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for name in ("status", "type"):
            if self.data.get(name) == "":
                raise ValidationError({name: "Leave it out for all of them."})
        narrowed: QuerySet[Any] = super().filter_queryset(queryset)
        return narrowed


def found(
    filter: Mapping[str, str], kind: type[DeviceFilter] = DeviceFilter
) -> QuerySet[Device]:
    """The devices that the list of devices shows with the same parameters.

    Args:
        kind: may know more parameters than the list does.

    Raises:
        InvalidFilter: there is no such parameter, or not with this value.
    """
    if unknown := sorted(set(filter) - set(kind.base_filters)):
        raise InvalidFilter(dict.fromkeys(unknown[:20], "There is no such parameter."))
    if filter.get("status") == Device.Status.RETIRED:
        raise InvalidFilter({"status": "A retired device is told nothing."})
    narrowing = kind(data=dict(filter), queryset=Device.objects.all())
    if not narrowing.is_valid():
        told = {name: str(said[0]) for name, said in narrowing.errors.items()}
        raise InvalidFilter(told)
    try:
        devices: QuerySet[Device] = narrowing.qs
    except ValidationError as error:
        raise InvalidFilter({"status": "One of the statuses, or nothing."}) from error
    return devices
