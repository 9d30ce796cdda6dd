"""The device filter of the API, the portal, bulk commands and rollouts."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import django_filters
from django import forms
from django.db.models import QuerySet
from django_filters import FilterSet
from drf_spectacular.utils import extend_schema_field

from core.characters import is_blank
from devices.registry.attribute_filter import AttributesField
from devices.registry.errors import InvalidFilter
from devices.registry.models import Device, DeviceQuerySet
from devices.registry.services.reregistration import REQUEST_VALIDITY

BLANK = "A blank value selects nothing. Omit the parameter, or enter a value."
MAX_IDS = 500
_UUID = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
CANONICAL_UUID = re.compile(_UUID)


class IdField(forms.UUIDField):
    """A UUID in its canonical form, as the API returns it."""

    widget = forms.TextInput

    def to_python(self, value: Any) -> Any:
        if value is not None and not CANONICAL_UUID.fullmatch(value):
            raise forms.ValidationError(self.error_messages["invalid"], "invalid")
        return super().to_python(value)


class IdFilter(django_filters.UUIDFilter):
    field_class = IdField


class IdsField(forms.CharField):
    """Ids, separated by commas."""

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        if value is None:
            return []
        ids = str(value).split(",")
        if len(ids) > MAX_IDS or not all(map(CANONICAL_UUID.fullmatch, ids)):
            raise forms.ValidationError(f"Enter 1 to {MAX_IDS} ids of devices.", "invalid")
        return ids


@extend_schema_field({"type": "string", "pattern": f"^{_UUID}(,{_UUID})*$"})
class IdsFilter(django_filters.Filter):
    field_class = IdsField


class AttributesFilter(django_filters.CharFilter):
    field_class = AttributesField

    def filter(self, qs: Any, value: Any) -> Any:
        return qs.filter(value) if value else qs


class BooleanField(forms.NullBooleanField):
    """A Boolean field that accepts `true` and `false` only."""

    widget = forms.TextInput
    default_error_messages: ClassVar = {"invalid": "Enter true or false."}

    def to_python(self, value: Any) -> bool | None:  # type: ignore[override]
        if value is None:
            return None
        if value not in ("true", "false"):
            raise forms.ValidationError(self.error_messages["invalid"], "invalid")
        return bool(value == "true")


class BooleanFilter(django_filters.BooleanFilter):
    field_class = BooleanField


class DeviceFilter(FilterSet):
    """Filter devices. Retired devices are included only with `status=retired`.

    Every device list and every bulk operation uses this filter.
    """

    status = django_filters.ChoiceFilter(choices=Device.Status.choices)
    model = django_filters.CharFilter()
    app_version = django_filters.CharFilter()
    os_version = django_filters.CharFilter()
    model_contains = django_filters.CharFilter(
        field_name="model", lookup_expr="icontains", max_length=64, help_text="Part of the model."
    )
    device = IdFilter(field_name="id")
    devices = IdsFilter(
        field_name="id",
        lookup_expr="in",
        help_text=f"Ids of at most {MAX_IDS} devices, separated by commas.",
    )
    never_connected = BooleanFilter(method="by_connection")
    tag = django_filters.CharFilter(method="with_tag", max_length=64)
    site = django_filters.CharFilter(
        method="with_site",
        max_length=120,
        help_text="Name or id of a site. Devices at the sites in it are included.",
    )
    quarantined = BooleanFilter(method="in_quarantine")
    asking = BooleanFilter(method="requesting_reregistration")
    drifted = BooleanFilter(method="with_configuration_drift")
    attributes = AttributesFilter(
        max_length=1000,
        help_text="Conditions on attributes, separated by semicolons: `key:value`, `key>=value` or"
        " `key<=value`. `key:` means that there is no value.",
    )
    search = django_filters.CharFilter(method="matching_text", max_length=120)

    now: datetime  # set by the caller

    class Meta:
        model = Device
        fields = ("status", "model", "app_version", "os_version")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        devices = super().filter_queryset(queryset)
        if self.form.cleaned_data["status"]:
            return devices
        assert isinstance(devices, DeviceQuerySet)
        return devices.not_retired()

    def by_connection(self, devices: DeviceQuerySet, name: str, value: bool) -> QuerySet[Device]:
        return devices.never_connected() if value else devices.exclude(last_seen=None)

    def with_tag(self, devices: DeviceQuerySet, name: str, value: str) -> QuerySet[Device]:
        return devices.with_tag(value)

    def with_site(self, devices: DeviceQuerySet, name: str, value: str) -> QuerySet[Device]:
        return devices.at_site(value)

    def in_quarantine(self, devices: DeviceQuerySet, name: str, value: bool) -> QuerySet[Device]:
        return devices.filter(quarantined_at__isnull=not value)

    def requesting_reregistration(
        self, devices: DeviceQuerySet, name: str, value: bool
    ) -> QuerySet[Device]:
        requesting = devices.requesting_reregistration(self.now - REQUEST_VALIDITY)
        if value:
            return requesting
        return devices.exclude(pk__in=requesting.values("pk"))

    def with_configuration_drift(
        self, devices: DeviceQuerySet, name: str, value: bool
    ) -> QuerySet[Device]:
        return devices.drifted() if value else devices.not_drifted()

    def matching_text(self, devices: DeviceQuerySet, name: str, value: str) -> QuerySet[Device]:
        return devices.matching_text(value)


def select(conditions: Mapping[str, str], *, now: datetime) -> DeviceQuerySet:
    """Select the devices of a bulk operation.

    Return the current tenant's devices that match the conditions.

    Args:
        conditions: the names and values of filters, as in the query string of `GET /devices`.
            Without conditions, all devices are selected. Callers accept this only if it was
            asked for explicitly (see `DeviceFilterField`).

    Raises:
        InvalidFilter: a name is unknown, or a value is blank or not accepted.
    """
    if unknown := sorted(set(conditions) - set(DeviceFilter.base_filters)):
        raise InvalidFilter(dict.fromkeys(unknown[:20], "This parameter does not exist."))
    if blank := [name for name, value in conditions.items() if is_blank(value)]:
        raise InvalidFilter(dict.fromkeys(blank, BLANK))
    if conditions.get("status") == Device.Status.RETIRED:
        raise InvalidFilter({"status": "Retired devices cannot be selected."})
    return narrow(Device.objects.all(), conditions, now=now)


def narrow(
    devices: DeviceQuerySet, conditions: Mapping[str, str], *, now: datetime
) -> DeviceQuerySet:
    """Filter devices.

    Args:
        conditions: see `select`. All names are known.

    Raises:
        InvalidFilter: a value is not accepted.
    """
    device_filter = DeviceFilter(data=dict(conditions), queryset=devices)
    device_filter.now = now
    if not device_filter.is_valid():
        raise InvalidFilter({name: str(errors[0]) for name, errors in device_filter.errors.items()})
    narrowed = device_filter.qs
    assert isinstance(narrowed, DeviceQuerySet)
    return narrowed
