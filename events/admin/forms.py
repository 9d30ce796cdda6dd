"""The admin form of notification channels."""

import re
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from core import clock
from events.models import Channel
from events.services import channels
from events.severity import Severity
from tenants.admin.forms import ServiceForm, switch_field, tenant_field, text_field

ANY = [("", "All events, including events without a severity"), *Severity.choices]


def lines_field(label: str, **kwargs: Any) -> Any:
    """Return a form field for a list of strings, one per line."""
    return forms.CharField(
        label=label, max_length=4000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), **kwargs
    )


class ChannelForm(ServiceForm):
    """Form to add or change a channel.

    The attribute `shown_once` of a new webhook contains its secret. The next page shows it.
    """

    tenant = tenant_field()
    name = text_field("Name", required=True, length=120)
    kind = forms.ChoiceField(
        choices=Channel.Kind.choices, widget=UnfoldAdminSelectWidget(choices=Channel.Kind.choices)
    )
    url = text_field(
        "URL", length=500, help_text="Only for webhooks. Example: https://example.com/hook."
    )
    recipients = lines_field(
        "Recipients", required=False, help_text="Only for mail. One e-mail address per line."
    )
    events = lines_field(
        "Events",
        initial="alert.*",
        help_text="Event names or patterns, one per line, such as alert.opened or device.*.",
    )
    least_severity = forms.ChoiceField(
        label="Minimum severity",
        choices=ANY,
        required=False,
        widget=UnfoldAdminSelectWidget(choices=ANY),
    )
    tag = text_field("Tag", help_text="If set, only events of devices with this tag are sent.")
    is_enabled = switch_field("Enabled", initial=True)

    class Meta:
        model = Channel
        fields = ("name",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        channel = self.instance
        if channel._state.adding:
            return
        self.initial.update(
            {
                "kind": channel.kind,
                "url": channel.url,
                "recipients": "\n".join(channel.recipients),
                "events": "\n".join(channel.events),
                "least_severity": channel.least_severity,
                "tag": channel.tag,
                "is_enabled": channel.is_enabled,
            }
        )
        self.fields["kind"].disabled = True

    def call_service(self) -> Channel:
        values = dict(self.cleaned_data)
        for name in ("recipients", "events"):
            values[name] = [item for item in re.split(r"[\s,;]+", values[name]) if item]
        now = clock.now()
        if not self.instance._state.adding:
            del values["kind"]
            return channels.update(channel=self.instance, now=now, **values)
        channel, secret = channels.create(now=now, **values)
        channel.__dict__["shown_once"] = secret
        return channel
