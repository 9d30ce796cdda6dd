"""The terms of a rollout as a person types them."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from devices.configurations.schedules import DAYS
from devices.updates.admin.fields import choice, number, share
from devices.updates.models import Deployment, SoftwareUpdate
from devices.updates.models.deployments import (
    DEFAULT_DEADLINE_MINUTES,
    DEFAULT_FAILURE_PERCENT,
    DEFAULT_SOAK_MINUTES,
    DEFAULT_SUCCESS_PERCENT,
)
from devices.updates.services.targets import Size
from devices.updates.services.terms import LIMITS as TERMS
from devices.updates.services.terms import MAX_WAVES
from tenants.admin.forms import text
from tenants.models import User
from tenants.roles import visible_to

MAX_PACKAGE_CHOICES = 200  # to choose from
WAVE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")
FILTERS = ("tag", "model", "app_version", "status", "search", "device")
STATUSES = [("", "Online or not"), ("online", "Online"), ("offline", "Offline")]


class PackageChoice(forms.ModelChoiceField):
    """Names the tenant as well, for who sees those of all tenants."""

    names_tenant = False

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj} ({obj.tenant})" if self.names_tenant else str(obj)


class RolloutForm(forms.Form):
    """The terms of a rollout as a person types them."""

    package = PackageChoice(
        queryset=SoftwareUpdate.objects.none(), widget=UnfoldAdminSelectWidget
    )
    name = text("Name", length=120, help_text="Empty: product and version.")
    tag = text("Devices with the tag")
    model = text("Of the model")
    app_version = text("That have version")
    status = choice("That are", STATUSES, required=False)
    search = text(
        "Named",
        length=120,
        help_text="A part of the name, or how an identifier begins.",
    )
    device = text("Or this one device", help_text="Its id.")
    waves = text(
        "Waves",
        required=True,
        length=300,
        initial="5 %, 25 %, 100 %",
        help_text="How far each goes, as a share or a number of devices.",
    )
    starts_at = forms.DateTimeField(
        label="Begins (UTC)",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
        help_text="Empty: when it is started.",
    )
    rate = number(
        "Devices a minute", TERMS["rate"], None, "Empty: as many as there are."
    )
    soak_minutes = number(
        "Well for, minutes",
        TERMS["soak_minutes"],
        DEFAULT_SOAK_MINUTES,
        "So long a device is back without a new alert before it has succeeded.",
    )
    deadline_minutes = number(
        "Heard of within, minutes",
        TERMS["deadline_minutes"],
        DEFAULT_DEADLINE_MINUTES,
        "A device that installs and is silent for longer has failed.",
    )
    success_percent = share(
        "Goes on at, %",
        DEFAULT_SUCCESS_PERCENT,
        "Of those that have begun have succeeded.",
    )
    failure_percent = share(
        "Pauses above, %", DEFAULT_FAILURE_PERCENT, "When it is certain that more fail."
    )
    window_days = forms.MultipleChoiceField(
        label="Only on",
        required=False,
        choices=[(day, day.capitalize()) for day in DAYS],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None: at any time.",
    )
    window_from = forms.TimeField(
        label="From",
        required=False,
        input_formats=["%H:%M"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
        help_text="By each device's own clock.",
    )
    window_until = forms.TimeField(
        label="Until",
        required=False,
        input_formats=["%H:%M"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
    )

    def __init__(
        self,
        *args: Any,
        user: User,
        row: Deployment | None = None,
        first: str = "",
        **kwargs: Any,
    ) -> None:
        """
        Args:
            row: the rollout whose terms these are; None of a new one.
            first: the id of the package that a new one is for.
        """
        kwargs["initial"] = (
            _initial_values(row) if row is not None else {"package": first}
        )
        super().__init__(*args, **kwargs)
        package: Any = self.fields["package"]
        package.names_tenant = user.is_superuser
        known = visible_to(user, SoftwareUpdate)
        if row is not None:
            found, package.disabled = known.filter(deployments=row), True
        else:
            released = known.filter(state=SoftwareUpdate.State.RELEASED)
            newest = released.order_by("-created_at").values_list("pk", flat=True)
            chosen = [first] if first else []
            found = released.filter(pk__in=[*newest[:MAX_PACKAGE_CHOICES], *chosen])
        package.queryset = found.select_related("product", "tenant")
        if row is not None and row.state not in ("draft", "waiting"):
            for name in (*FILTERS, "starts_at"):
                self.fields[name].disabled = True

    def has_packages(self) -> bool:
        package: Any = self.fields["package"]
        return bool(package.queryset.exists())

    def clean_waves(self) -> list[Size]:
        sizes: list[Size] = []
        for part in filter(None, map(str.strip, self.cleaned_data["waves"].split(","))):
            found = WAVE.fullmatch(part)
            if found is None or len(sizes) >= MAX_WAVES:
                raise forms.ValidationError("Such as 10, 25 %, 100 %.")
            value, is_share = float(found[1]), bool(found[2])
            if not is_share and not value.is_integer():
                raise forms.ValidationError("A number of devices has no fraction.")
            sizes.append(Size(percent=value) if is_share else Size(count=int(value)))
        return sizes

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        window = [said.get(f"window_{name}") for name in ("days", "from", "until")]
        if any(window) and not all(each not in (None, []) for each in window):
            self.add_error("window_days", "A window has days, a beginning and an end.")
        return said

    def said(self) -> dict[str, Any]:
        """The terms as the service wants them."""
        typed = self.cleaned_data
        names = ("starts_at", "soak_minutes", "deadline_minutes", "rate", "waves")
        shares = ("success_percent", "failure_percent")
        days = typed["window_days"]
        window = {
            "days": days,
            "from": f"{typed['window_from']:%H:%M}" if days else "",
            "until": f"{typed['window_until']:%H:%M}" if days else "",
        }
        return {
            **{name: typed[name] for name in (*names, *shares)},
            "filter": {name: typed[name] for name in FILTERS if typed[name]},
            "windows": [window] if days else [],
        }

    def changed_values(self, row: Deployment) -> dict[str, Any]:
        """Of the terms those that were changed; what the form cannot show stays."""
        changed, said = set(self.changed_data), self.said()
        of_term = {
            "filter": set(FILTERS),
            "windows": {"window_days", "window_from", "window_until"},
        }
        told = {
            name: value
            for name, value in said.items()
            if changed & of_term.get(name, {name})
        }
        if "filter" in told:
            unseen = {n: v for n, v in row.filter.items() if n not in FILTERS}
            told["filter"] = {**unseen, **told["filter"]}
        if "windows" in told:
            told["windows"] = [*told["windows"], *row.windows[1:]]
        if "waves" in told:
            known = {wave.number: wave.starts_at for wave in row.waves.all()}
            told["waves"] = [
                replace(size, starts_at=known.get(number))
                for number, size in enumerate(told["waves"], start=1)
            ]
        return told


def _initial_values(row: Deployment) -> dict[str, Any]:
    """The terms of a rollout as a person would have typed them."""
    sizes = [
        f"{wave.percent:.12g} %" if wave.percent is not None else str(wave.count)
        for wave in row.waves.all()
    ]
    window = row.windows[0] if row.windows else {}
    starts_at: datetime | None = row.starts_at
    return {
        **{name: row.filter.get(name, "") for name in FILTERS},
        **{
            name: getattr(row, name)
            for name in (
                *("package", "name", "rate", "soak_minutes", "deadline_minutes"),
                *("success_percent", "failure_percent"),
            )
        },
        "waves": ", ".join(sizes),
        "starts_at": f"{starts_at.astimezone(UTC):%Y-%m-%dT%H:%M}" if starts_at else "",
        "window_days": window.get("days", []),
        "window_from": window.get("from", ""),
        "window_until": window.get("until", ""),
    }
