"""Portal form of maintenance windows."""

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
)

from core import clock
from core.weekly_times import DAYS
from devices.maintenance.models import MaintenanceWindow
from devices.maintenance.services import windows
from devices.registry.admin.subject_form import SubjectForm
from tenants.admin.forms import clock_field, notes_field, switch_field, tenant_field, text_field

WEEKLY = ("days", "from", "until")
COPIED = ("name", "notes", "scope", "recurrence", "starts_at", "ends_at", "time_zone")
SWITCHES = ("holds_alerts", "holds_commands")


def _choice(label: str, choices: Any, **kwargs: Any) -> forms.ChoiceField:
    widget = UnfoldAdminSelectWidget(choices=choices)
    return forms.ChoiceField(label=label, choices=choices, widget=widget, **kwargs)


def _moment(label: str) -> forms.SplitDateTimeField:
    return forms.SplitDateTimeField(
        label=label, required=False, widget=UnfoldAdminSplitDateTimeWidget()
    )


class WindowForm(SubjectForm):
    """Create or change a maintenance window. It shows the first weekly time, and keeps others."""

    tenant = tenant_field()
    name = text_field("Name", required=True, length=120)
    scope = _choice("Devices", MaintenanceWindow.Scope.choices)
    site_name = text_field(
        "Site", length=120, help_text="Name of the site. The sites in it are included."
    )
    tag_name = text_field("Tag")
    device_id = text_field("Device", length=120, help_text="Id or name of the device.")
    recurrence = _choice("Recurrence", MaintenanceWindow.Recurrence.choices)
    starts_at = _moment("Start")
    ends_at = _moment("End")
    week_days = forms.MultipleChoiceField(
        label="On",
        required=False,
        choices=[(day, day.capitalize()) for day in DAYS],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    week_from = clock_field("From")
    week_until = clock_field("Until", "Not after the start: until the next day.")
    time_zone = text_field(
        "Time zone",
        help_text="For example Europe/Berlin. If empty, the local time of each device's site.",
    )
    holds_alerts = switch_field(
        "Hold alerts",
        initial=True,
        help_text="No alert opens or gets a higher severity. An alert opens after the window if its cause"
        " is still there.",
    )
    holds_commands = switch_field(
        "Hold commands",
        initial=True,
        help_text="Devices get waiting commands after the window, unless they expire before. Remote control"
        " is not possible.",
    )
    notes = notes_field()

    class Meta:
        model = MaintenanceWindow
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        window = self.instance
        if self.is_new:
            return
        for name in (*COPIED, *SWITCHES):
            self.initial.setdefault(name, getattr(window, name))
        self.initial.update(
            site_name=str(window.site or ""),
            tag_name=window.tag.name if window.tag else "",
            device_id=str(window.device_id or ""),
        )
        for entry in window.times[:1]:
            self.initial.update({f"week_{name}": entry[name] for name in WEEKLY})

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("recurrence") == MaintenanceWindow.Recurrence.WEEKLY:
            for name in WEEKLY:
                if values.get(f"week_{name}") in (None, []):
                    self.add_error(f"week_{name}", "A weekly window needs this.")
        return values

    def call_service(self) -> MaintenanceWindow:
        data = dict(self.cleaned_data)
        data |= self.subject()
        for name in ("site_name", "tag_name", "device_id"):
            del data[name]
        days, start, end = (data.pop(f"week_{name}") for name in WEEKLY)
        more = [] if self.is_new else self.instance.times[1:]
        if days and start is not None and end is not None:
            first = {"days": days, "from": f"{start:%H:%M}", "until": f"{end:%H:%M}"}
            data["times"] = [first, *more]
        if self.is_new:
            return windows.create(now=clock.now(), **data)
        return windows.change(window=self.instance, now=clock.now(), **data)
