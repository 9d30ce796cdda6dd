"""The portal form of the settings of a rollout."""

import re
from dataclasses import replace
from typing import Any

from django import forms
from django.utils.timezone import localtime
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from core.weekly_times import DAYS
from devices.registry.admin.selection import SelectionForm
from devices.updates.admin.fields import choice_field, integer_field, percent_field
from devices.updates.models import Deployment, SoftwareUpdate
from devices.updates.models.deployments import (
    DEFAULT_DEADLINE_MINUTES,
    DEFAULT_FAILURE_PERCENT,
    DEFAULT_SOAK_MINUTES,
    DEFAULT_SUCCESS_PERCENT,
)
from devices.updates.services.rollout_settings import LIMITS as TERMS
from devices.updates.services.rollout_settings import MAX_WAVES
from devices.updates.services.targets import WaveSize
from tenants.admin.forms import filter_field, text_field
from tenants.models import User
from tenants.roles import visible_to

MAX_PACKAGE_CHOICES = 200  # newest packages that the form offers
WAVE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")
FILTERS = ("site", "tag", "model", "app_version", "status", "search", "device")
STATUSES = [("", "Any"), ("online", "Online"), ("offline", "Offline")]


class PackageChoice(forms.ModelChoiceField):  # type: ignore[type-arg] # not generic at run time
    """A choice of packages. Superusers also see the tenant of each package."""

    shows_tenant = False

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj} ({obj.tenant})" if self.shows_tenant else str(obj)


class RolloutForm(SelectionForm):
    """The settings of a rollout."""

    filter_names = FILTERS

    package = PackageChoice(queryset=SoftwareUpdate.objects.none(), widget=UnfoldAdminSelectWidget)
    name = text_field(
        "Name", length=120, help_text="Leave empty to use the product and the version."
    )
    site = filter_field(
        "Site", length=120, help_text="Only devices at this site, or at sites in it."
    )
    tag = filter_field("Tag", help_text="Only devices with this tag.")
    model = filter_field("Model", help_text="Only devices of this model.")
    app_version = filter_field("Installed version", help_text="Only devices with this app version.")
    status = choice_field("Status", STATUSES, required=False)
    search = filter_field(
        "Search", length=120, help_text="A part of the device name, or the start of an identifier."
    )
    device = filter_field("Device id", help_text="Only this device.")
    waves = text_field(
        "Waves",
        required=True,
        length=300,
        initial="5 %, 25 %, 100 %",
        help_text="Size of each wave including the waves before it, as a percentage or a"
        " number of devices. For example: 10, 25 %, 100 %.",
    )
    starts_at = forms.DateTimeField(
        label="Start time",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
        help_text="Leave empty to begin as soon as the rollout is started or approved.",
    )
    dynamic = forms.BooleanField(
        label="Dynamic",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Also take devices that match after the start. The rollout then does not finish.",
    )
    rate = integer_field(
        "Rate (devices per minute)", TERMS["rate"], None, "Leave empty for no limit."
    )
    soak_minutes = integer_field(
        "Soak time (minutes)",
        TERMS["soak_minutes"],
        DEFAULT_SOAK_MINUTES,
        "How long a device must run the new version without a new alert before the update"
        " counts as successful.",
    )
    deadline_minutes = integer_field(
        "Report deadline (minutes)",
        TERMS["deadline_minutes"],
        DEFAULT_DEADLINE_MINUTES,
        "The update fails if a device that is installing it does not report for this long.",
    )
    success_percent = percent_field(
        "Success threshold (%)",
        DEFAULT_SUCCESS_PERCENT,
        "The next wave starts when the update has succeeded on this share of the wave's"
        " devices. Unreachable devices that have not started do not count.",
    )
    failure_percent = percent_field(
        "Failure threshold (%)",
        DEFAULT_FAILURE_PERCENT,
        "The rollout pauses when the 95 % confidence interval of the failure rate is above"
        " this share.",
    )
    window_days = forms.MultipleChoiceField(
        label="Days",
        required=False,
        choices=[(day, day.capitalize()) for day in DAYS],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Select no day to allow updates at any time.",
    )
    window_from = forms.TimeField(
        label="From",
        required=False,
        input_formats=["%H:%M"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
        help_text="In the local time of each device.",
    )
    window_until = forms.TimeField(
        label="Until",
        required=False,
        input_formats=["%H:%M"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
        help_text="If this time is not after the start, the window ends on the next day.",
    )

    def __init__(
        self,
        *args: Any,
        user: User,
        rollout: Deployment | None = None,
        package_id: str = "",
        **kwargs: Any,
    ) -> None:
        """Build the form for a new or an existing rollout.

        Args:
            rollout: the rollout to change; None for a new rollout.
            package_id: id of the package that is preselected for a new rollout.
        """
        given = {"package": package_id, **(kwargs.get("initial") or {})}
        kwargs["initial"] = given if rollout is None else _initial_values(rollout)
        super().__init__(*args, **kwargs)
        package: Any = self.fields["package"]
        package.shows_tenant = user.sees_every_tenant
        visible = visible_to(user, SoftwareUpdate)
        if rollout is not None:
            queryset, package.disabled = visible.filter(deployments=rollout), True
        else:
            released = visible.filter(state=SoftwareUpdate.State.RELEASED)
            newest = released.order_by("-created_at").values_list("pk", flat=True)
            chosen = [package_id] if package_id else []
            keys = [*newest[:MAX_PACKAGE_CHOICES], *chosen]
            queryset = released.filter(pk__in=keys)
        package.queryset = queryset.select_related("product", "tenant")
        if rollout is not None and rollout.state not in ("draft", "waiting"):
            for name in (*FILTERS, "starts_at"):
                self.fields[name].disabled = True

    def has_packages(self) -> bool:
        package: Any = self.fields["package"]
        return bool(package.queryset.exists())

    def clean_waves(self) -> list[WaveSize]:
        sizes: list[WaveSize] = []
        for part in filter(None, map(str.strip, self.cleaned_data["waves"].split(","))):
            match = WAVE.fullmatch(part)
            if match is None or len(sizes) >= MAX_WAVES:
                message = (
                    f"Enter at most {MAX_WAVES} sizes, separated by commas."
                    " For example: 10, 25 %, 100 %."
                )
                raise forms.ValidationError(message)
            value, is_percent = float(match[1]), bool(match[2])
            if not is_percent and not value.is_integer():
                message = "A number of devices must be a whole number."
                raise forms.ValidationError(message)
            sizes.append(WaveSize(percent=value) if is_percent else WaveSize(count=int(value)))
        return sizes

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        window = [values.get(f"window_{name}") for name in ("days", "from", "until")]
        if any(window) and not all(value not in (None, []) for value in window):
            message = "A maintenance window needs days, a start and an end."
            self.add_error("window_days", message)
        return values

    def rollout_values(self) -> dict[str, Any]:
        """Return the entered settings. The keys are field names of `RolloutSettings`."""
        data = self.cleaned_data
        names = (
            "starts_at",
            "dynamic",
            "soak_minutes",
            "deadline_minutes",
            "rate",
            "waves",
            "success_percent",
            "failure_percent",
        )
        days = data["window_days"]
        window = {
            "days": days,
            "from": f"{data['window_from']:%H:%M}" if days else "",
            "until": f"{data['window_until']:%H:%M}" if days else "",
        }
        return {
            **{name: data[name] for name in names},
            "filter": self.selected(),
            "windows": [window] if days else [],
        }

    def changed_values(self, rollout: Deployment) -> dict[str, Any]:
        """Return the settings that the user changed. Values that the form cannot show are kept."""
        changed_fields = set(self.changed_data)
        form_fields = {
            "filter": set(FILTERS),
            "windows": {"window_days", "window_from", "window_until"},
        }
        values = {
            name: value
            for name, value in self.rollout_values().items()
            if changed_fields & form_fields.get(name, {name})
        }
        if "filter" in values:
            hidden = {n: v for n, v in rollout.filter.items() if n not in FILTERS}
            values["filter"] = {**hidden, **values["filter"]}
        if "windows" in values:
            values["windows"] = [*values["windows"], *rollout.windows[1:]]
        if "waves" in values:
            start_times = {wave.number: wave.starts_at for wave in rollout.waves.all()}
            values["waves"] = [
                replace(size, starts_at=start_times.get(number))
                for number, size in enumerate(values["waves"], start=1)
            ]
        return values


def _initial_values(rollout: Deployment) -> dict[str, Any]:
    """Return the settings of a rollout as initial values of the form."""
    sizes = [
        f"{wave.percent:.12g} %" if wave.percent is not None else str(wave.count)
        for wave in rollout.waves.all()
    ]
    window = rollout.windows[0] if rollout.windows else {}
    starts_at = rollout.starts_at
    return {
        **{name: rollout.filter.get(name, "") for name in FILTERS},
        "package": rollout.package,
        "name": rollout.name,
        "dynamic": rollout.dynamic,
        "rate": rollout.rate,
        "soak_minutes": rollout.soak_minutes,
        "deadline_minutes": rollout.deadline_minutes,
        "success_percent": rollout.success_percent,
        "failure_percent": rollout.failure_percent,
        "waves": ", ".join(sizes),
        "starts_at": f"{localtime(starts_at):%Y-%m-%dT%H:%M}" if starts_at else "",
        "window_days": window.get("days", []),
        "window_from": window.get("from", ""),
        "window_until": window.get("until", ""),
    }
