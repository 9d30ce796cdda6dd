"""The portal's form of channels: it calls the service and shows what it refuses."""

import re
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from events.models import Channel
from events.services import channels
from events.severity import Severity
from tenants.admin.forms import ServiceForm, tenant_field, text

ANY = [("", "any, or none"), *Severity.choices]


def lines(label: str, **kwargs: Any) -> Any:
    return forms.CharField(
        label=label,
        max_length=4000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        **kwargs,
    )


class ChannelForm(ServiceForm):
    """Whom to tell, and of what; a new webhook carries its secret to the page after."""

    tenant = tenant_field()
    name = text("Name", required=True, length=120)
    kind = forms.ChoiceField(
        choices=Channel.Kind.choices,
        widget=UnfoldAdminSelectWidget(choices=Channel.Kind.choices),
    )
    url = text("Address", length=500, help_text="Of a webhook: https://…")
    recipients = lines("Recipients", required=False, help_text="Of mails, one a line.")
    events = lines(
        "Events", initial="alert.*", help_text="Names or patterns, one a line: device.*"
    )
    least_severity = forms.ChoiceField(
        label="Least severity",
        choices=ANY,
        required=False,
        widget=UnfoldAdminSelectWidget(choices=ANY),
    )
    tag = text("Tag", help_text="Only of devices that wear it. Empty: of all.")
    is_enabled = forms.BooleanField(
        label="Switched on",
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget(),
    )

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

    def act(self) -> Channel:
        said = dict(self.cleaned_data)
        for name in ("recipients", "events"):
            said[name] = [word for word in re.split(r"[\s,;]+", said[name]) if word]
        now = timezone.now()
        if not self.instance._state.adding:
            del said["kind"]
            return channels.update(channel=self.instance, now=now, **said)
        channel, secret = channels.create(now=now, **said)
        channel.__dict__["shown_once"] = secret
        return channel
