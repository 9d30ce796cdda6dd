"""Portal forms of remote control."""

from datetime import timedelta
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
)

from core import clock
from devices.registry.admin.selection import SelectionForm
from devices.remote_control.command_types import CHOICES, TYPES
from devices.remote_control.models import RemoteControlPolicy
from devices.remote_control.models.policies import DEFAULT_BLAST_RADIUS, SCREENSHOT_INTERVALS
from devices.remote_control.services import policies, scheduled_screenshots
from devices.remote_control.services.policies import MAX_BLAST_RADIUS
from tenants.admin.forms import ServiceForm, filter_field, tenant_field
from tenants.models import User

BULK_TYPES = [(name, type_.label) for name, type_ in TYPES.items() if not type_.is_gesture]
STATUSES = [("", "Online or offline"), ("online", "Online"), ("offline", "Offline")]
FILTERS = ("site", "tag", "model", "status", "search")


class PolicyForm(ServiceForm):
    """Form that changes the remote control policy."""

    tenant = tenant_field()
    allowed_types = forms.MultipleChoiceField(
        label="Allowed command types",
        required=False,
        choices=CHOICES,
        initial=list(TYPES),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    blast_radius = forms.IntegerField(
        label="Blast radius (devices)",
        min_value=0,
        max_value=MAX_BLAST_RADIUS,
        initial=DEFAULT_BLAST_RADIUS,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="A bulk command to more devices than this must be confirmed by a second"
        " member. Example: 50.",
    )

    screenshot_minutes = forms.TypedChoiceField(
        label="Scheduled screenshots",
        choices=list(SCREENSHOT_INTERVALS.items()),
        coerce=int,
        initial=0,
        widget=UnfoldAdminSelectWidget(choices=list(SCREENSHOT_INTERVALS.items())),
        help_text=f"Of each online device, for the page Screens. An image has about"
        f" {scheduled_screenshots.TYPICAL_KILOBYTES} KB, so 1,000 devices send"
        f" {scheduled_screenshots.megabytes_per_hour(1000, 60):.0f} MB an hour if it is every hour.",
    )

    class Meta:
        model = RemoteControlPolicy
        fields = ("allowed_types", "blast_radius", "screenshot_minutes")

    def call_service(self) -> RemoteControlPolicy:
        return policies.change(now=clock.now(), **self.cleaned_data)


class BulkForm(SelectionForm):
    """Form that requests a bulk command. Fields are the type, parameters and device filter."""

    filter_names = FILTERS
    tenant = tenant_field()
    type = forms.ChoiceField(
        label="Command", choices=BULK_TYPES, widget=UnfoldAdminSelectWidget(choices=BULK_TYPES)
    )
    volume = forms.IntegerField(
        label="Volume (percent)",
        required=False,
        min_value=0,
        max_value=100,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Required for the command “Set volume”. From 0 to 100.",
    )
    wait_hours = forms.IntegerField(
        label="Wait for offline devices (hours)",
        required=False,
        min_value=1,
        max_value=720,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="From 1 to 720. If empty, commands wait for 24 hours. The commands"
        " “Screenshot” and “Wake up” do not wait.",
    )
    site = filter_field(
        "Site", length=120, help_text="Only devices at this site, or at sites in it."
    )
    tag = filter_field("Tag", help_text="Only devices with this tag.")
    model = filter_field("Model", help_text="Only devices of this model.")
    status = forms.ChoiceField(
        label="Status",
        required=False,
        choices=STATUSES,
        widget=UnfoldAdminSelectWidget(choices=STATUSES),
    )
    search = filter_field(
        "Name or identifier",
        length=120,
        help_text="Any part of the name, or the start of an identifier.",
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not user.sees_every_tenant:
            del self.fields["tenant"]

    def order(self) -> dict[str, Any]:
        """Return the arguments for `bulk_commands.preview` and `bulk_commands.request`."""
        data = self.cleaned_data
        hours, volume = data["wait_hours"], data["volume"]
        has_volume = data["type"] == "set_volume" and volume is not None
        return {
            "type": data["type"],
            "parameters": {"volume": volume} if has_volume else {},
            "filter": self.selected(),
            "wait": timedelta(hours=hours) if hours else None,
        }
