"""Portal forms of the registry. Each form calls a service and shows the service's errors."""

import re
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
)

from core import clock
from devices.registry.admin import attributes
from devices.registry.device_report import DeviceReport
from devices.registry.models import Device, DeviceTag, EnrollmentToken, ReregistrationPolicy, Site
from devices.registry.services import credentials, device_details, registration
from devices.registry.services.sites import find_site
from tenants.admin.forms import ServiceForm, tenant_field, text_field


def site_field() -> forms.CharField:
    field: forms.CharField = text_field(
        "Site", length=120, help_text="Name of the site at which the device stands."
    )
    return field


def _site(name: str) -> Site | None:
    return find_site(name, field="site_name") if name else None


class RegistrationForm(ServiceForm):
    """Register a device by hand.

    When the device registers itself later, it uses the row that this form creates.
    """

    tenant = tenant_field()
    name = text_field(
        "Name", length=120, help_text="If empty, the serial number or another identifier is used."
    )
    serial_number = text_field("Serial number", help_text="At least one identifier is required.")
    android_id = text_field("Android ID")
    mac_addresses = forms.CharField(
        label="MAC addresses",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="One per line, for example A8:BB:CC:DD:EE:0F.",
    )
    manufacturer = text_field("Manufacturer")
    model = text_field("Model")
    tags = text_field("Tags", length=500, help_text="Separate tags with commas.")
    site_name = site_field()

    class Meta:
        model = Device
        fields = ("name",)

    def call_service(self) -> Device:
        data = self.cleaned_data
        macs = re.split(r"[\s,;]+", data["mac_addresses"].strip())
        report = DeviceReport(
            serial_number=data["serial_number"],
            android_id=data["android_id"],
            mac_addresses=tuple(mac for mac in macs if mac),
            manufacturer=data["manufacturer"],
            model=data["model"],
            name=data["name"],
        )
        return registration.register(
            report=report,
            tags=data["tags"].split(","),
            site=_site(data["site_name"]),
            now=clock.now(),
        )


class UpdateForm(ServiceForm):
    """Change the name, the tags and the site of a device."""

    name = text_field("Name", required=True, length=120)
    tags = text_field("Tags", length=500, help_text="Separate tags with commas.")
    site_name = site_field()

    class Meta:
        model = Device
        fields = ("name",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        device_tags = DeviceTag.every_tenant.filter(device_id=self.instance.pk)
        names = device_tags.values_list("tag__name", flat=True)
        self.initial.setdefault("tags", ", ".join(names))
        self.initial.setdefault("site_name", str(self.instance.site or ""))
        self.fields |= attributes.form_fields(self.instance)

    def call_service(self) -> Device:
        return device_details.update(
            device=self.instance,
            name=self.cleaned_data["name"],
            tags=self.cleaned_data["tags"].split(","),
            site=_site(self.cleaned_data["site_name"]),
            notes=self.cleaned_data["notes"],
            attributes=attributes.entered(self.cleaned_data),
            now=clock.now(),
        )


class EnrollmentTokenForm(ServiceForm):
    """Create an enrollment token.

    `call_service` returns the new row with the token in `shown_once`, so that the next page
    can display the token.
    """

    tenant = tenant_field()
    name = text_field("Name", required=True, length=120)
    max_uses = forms.IntegerField(
        label="Maximum devices",
        required=False,
        min_value=1,
        max_value=2_000_000_000,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Number of new devices that may register. If empty, there is no limit.",
    )
    expires_at = forms.SplitDateTimeField(
        label="Expiry",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="If empty, the token never expires.",
    )
    reregistration = forms.ChoiceField(
        label="Re-registration",
        choices=ReregistrationPolicy.choices,
        initial=ReregistrationPolicy.ROTATE,
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text="What happens when a registered device registers again.",
    )
    tag_names = text_field("Tags", length=500, help_text="For new devices. Separate with commas.")
    site_name = text_field("Site", length=120, help_text="Name of the site for new devices.")

    class Meta:
        model = EnrollmentToken
        fields = ("name", "max_uses", "expires_at", "reregistration")

    def call_service(self) -> EnrollmentToken:
        now, expires_at = clock.now(), self.cleaned_data["expires_at"]
        row, token = credentials.create_enrollment_token(
            name=self.cleaned_data["name"],
            max_uses=self.cleaned_data["max_uses"],
            lifetime=None if expires_at is None else expires_at - now,
            reregistration=self.cleaned_data["reregistration"] or ReregistrationPolicy.ROTATE.value,
            tags=self.cleaned_data["tag_names"].split(","),
            site=_site(self.cleaned_data["site_name"]),
            now=now,
        )
        row.__dict__["shown_once"] = token
        return row
