"""Portal pages of gateway tokens."""

from django.contrib import admin

from accounts.admin.issued_tokens import IssuedTokenAdmin
from devices.hawkbit.admin.forms import GatewayTokenForm
from devices.hawkbit.models import GatewayToken


@admin.register(GatewayToken)
class GatewayTokenAdmin(IssuedTokenAdmin):
    """The admin class of the tokens of hawkBit gateways."""

    list_display = ("name", "hint", "state", "registers_devices", "expires", "last_used", "made")
    service_form = GatewayTokenForm
    fields = ("name", "registers_devices", "expires_at")
