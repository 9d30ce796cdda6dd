"""The portal's forms of the registry: each calls its service and shows what it refuses."""

import re
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
)

from devices.registry.device_report import Box
from devices.registry.models import Device, DeviceTag, EnrollmentToken, Reregistering
from devices.registry.services import credentials, registration
from tenants.admin.forms import ServiceForm, tenant_field, text


class RegistrationForm(ServiceForm):
    """A device entered by hand; the box claims it when it comes."""

    tenant = tenant_field()
    name = text("Name", length=120, help_text="Empty: its serial number.")
    serial_number = text(
        "Serial number", help_text="At least one identifier is needed."
    )
    android_id = text("Android id")
    mac_addresses = forms.CharField(
        label="MAC addresses",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="In any usual notation, one a line.",
    )
    manufacturer = text("Manufacturer")
    model = text("Model")
    tags = text("Tags", length=500, help_text="Separated by commas.")

    class Meta:
        model = Device
        fields = ("name",)

    def act(self) -> Device:
        said = self.cleaned_data
        macs = re.split(r"[\s,;]+", said["mac_addresses"].strip())
        box = Box(
            serial_number=said["serial_number"],
            android_id=said["android_id"],
            mac_addresses=tuple(mac for mac in macs if mac),
            manufacturer=said["manufacturer"],
            model=said["model"],
            name=said["name"],
        )
        tags = said["tags"].split(",")
        return registration.register(box=box, tags=tags, now=timezone.now())


class UpdateForm(ServiceForm):
    """What members may change of a device."""

    name = text("Name", required=True, length=120)
    tags = text("Tags", length=500, help_text="Separated by commas.")

    class Meta:
        model = Device
        fields = ("name",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        worn = DeviceTag.every_tenant.filter(device_id=self.instance.pk)
        names = worn.values_list("tag__name", flat=True)
        self.initial.setdefault("tags", ", ".join(names))

    def act(self) -> Device:
        return registration.update(
            device=self.instance,
            name=self.cleaned_data["name"],
            tags=self.cleaned_data["tags"].split(","),
            now=timezone.now(),
        )


class EnrollmentTokenForm(ServiceForm):
    """A new enrollment token; the row carries the token to the page that shows it."""

    tenant = tenant_field()
    name = text("Name", required=True, length=120)
    max_uses = forms.IntegerField(
        label="Devices",
        required=False,
        min_value=1,
        max_value=2_000_000_000,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="How many it may bring in. Empty: any number.",
    )
    expires_at = forms.SplitDateTimeField(
        label="Expires", required=False, widget=UnfoldAdminSplitDateTimeWidget()
    )

    reregistration = forms.ChoiceField(
        label="A known box",
        choices=Reregistering.choices,
        initial=Reregistering.ROTATE,
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text="What comes of a box that has registered before.",
    )

    class Meta:
        model = EnrollmentToken
        fields = ("name", "max_uses", "expires_at", "reregistration")

    def act(self) -> EnrollmentToken:
        now, expires_at = timezone.now(), self.cleaned_data["expires_at"]
        row, token = credentials.create_enrollment_token(
            name=self.cleaned_data["name"],
            max_uses=self.cleaned_data["max_uses"],
            lifetime=None if expires_at is None else expires_at - now,
            reregistration=self.cleaned_data["reregistration"]
            or Reregistering.ROTATE.value,
            now=now,
        )
        row.__dict__["shown_once"] = token
        return row
