"""The portal's forms of remote control."""

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
)

from devices.remote_control.command_types import CHOICES, TYPES
from devices.remote_control.models import RemoteControlPolicy
from devices.remote_control.models.policies import USUAL_BLAST_RADIUS
from devices.remote_control.services import policies
from devices.remote_control.services.policies import LARGEST_BLAST_RADIUS
from tenants.admin.forms import ServiceForm, tenant_field, text
from tenants.models import User

TO_MANY = [(name, type_.label) for name, type_ in TYPES.items() if not type_.is_gesture]
STATUSES = [("", "Online or not"), ("online", "Online"), ("offline", "Offline")]
FILTERS = ("tag", "model", "status", "search")


class PolicyForm(ServiceForm):
    """What may be commanded."""

    tenant = tenant_field()
    allowed_types = forms.MultipleChoiceField(
        label="Allowed",
        required=False,
        choices=CHOICES,
        initial=list(TYPES),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    blast_radius = forms.IntegerField(
        label="Blast radius",
        min_value=0,
        max_value=LARGEST_BLAST_RADIUS,
        initial=USUAL_BLAST_RADIUS,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="A command to more devices than this waits for a second person.",
    )

    class Meta:
        model = RemoteControlPolicy
        fields = ("allowed_types", "blast_radius")

    def act(self) -> RemoteControlPolicy:
        said = dict(self.cleaned_data)
        return policies.change(now=timezone.now(), **said)


class BulkForm(forms.Form):
    """A command, and which devices it is for."""

    tenant = tenant_field()
    type = forms.ChoiceField(
        label="Command",
        choices=TO_MANY,
        widget=UnfoldAdminSelectWidget(choices=TO_MANY),
    )
    volume = forms.IntegerField(
        label="Volume",
        required=False,
        min_value=0,
        max_value=100,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="When the volume is set: 0 to 100.",
    )
    wait_hours = forms.IntegerField(
        label="Waits for devices that are offline, hours",
        required=False,
        min_value=1,
        max_value=720,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Empty: a day, if the command makes sense later at all.",
    )
    tag = text("With the tag")
    model = text("Of the model")
    status = forms.ChoiceField(
        label="That are",
        required=False,
        choices=STATUSES,
        widget=UnfoldAdminSelectWidget(choices=STATUSES),
    )
    search = text(
        "Named",
        length=120,
        help_text="A part of the name, or how an identifier begins.",
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not user.is_superuser:
            del self.fields["tenant"]

    def order(self) -> dict[str, Any]:
        """What the service wants to know."""
        said = self.cleaned_data
        hours, volume = said["wait_hours"], said["volume"]
        wants_volume = said["type"] == "set_volume" and volume is not None
        return {
            "type": said["type"],
            "parameters": {"volume": volume} if wants_volume else {},
            "filter": {name: said[name] for name in FILTERS if said[name]},
            "wait": timedelta(hours=hours) if hours else None,
        }
