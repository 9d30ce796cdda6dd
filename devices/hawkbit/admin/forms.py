"""Portal forms of the hawkBit API."""

from django import forms
from unfold.widgets import UnfoldAdminSplitDateTimeWidget

from core import clock
from devices.hawkbit.models import DEFAULT_POLLING_SECONDS, GatewayToken, HawkbitSettings
from devices.hawkbit.services import gateway_tokens, settings
from devices.hawkbit.services.settings import POLLING_SECONDS
from devices.updates.admin.fields import integer_field
from tenants.admin.forms import ServiceForm, switch_field, tenant_field, text_field


class HawkbitSettingsForm(ServiceForm):
    """Switch the API on or off, and set the interval of polls."""

    tenant = tenant_field()
    is_enabled = switch_field(
        "Enabled", help_text="Devices of this tenant may use the hawkBit API."
    )
    polling_seconds = integer_field(
        "Polling interval (seconds)",
        POLLING_SECONDS,
        DEFAULT_POLLING_SECONDS,
        "How long a device waits between two polls. A device that is silent for five minutes"
        " is offline.",
    )

    class Meta:
        model = HawkbitSettings
        fields = ("is_enabled", "polling_seconds")

    def call_service(self) -> HawkbitSettings:
        return settings.change(now=clock.now(), **self.cleaned_data)


class GatewayTokenForm(ServiceForm):
    """Create a gateway token.

    `call_service` returns the new row with the token in `shown_once`, so that the next page
    can display the token.
    """

    tenant = tenant_field()
    name = text_field("Name", required=True, length=120)
    registers_devices = switch_field(
        "Register unknown devices",
        help_text="A device that polls for the first time is registered. Its controller id becomes"
        " its serial number.",
    )
    expires_at = forms.SplitDateTimeField(
        label="Expiry",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="If empty, the token never expires.",
    )

    class Meta:
        model = GatewayToken
        fields = ("name", "registers_devices", "expires_at")

    def call_service(self) -> GatewayToken:
        now, expires_at = clock.now(), self.cleaned_data["expires_at"]
        row, token = gateway_tokens.create_gateway_token(
            name=self.cleaned_data["name"],
            registers_devices=self.cleaned_data["registers_devices"],
            lifetime=None if expires_at is None else expires_at - now,
            now=now,
        )
        row.__dict__["shown_once"] = token
        return row
