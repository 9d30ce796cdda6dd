"""The portal page of the settings of the hawkBit API."""

from django.contrib import admin

from devices.hawkbit.admin.forms import HawkbitSettingsForm
from devices.hawkbit.models import HawkbitSettings
from tenants.admin.base import SingletonAdmin


@admin.register(HawkbitSettings)
class HawkbitSettingsAdmin(SingletonAdmin):
    """The settings of each tenant."""

    list_display = ("settings_name", "is_enabled", "polling_seconds")
    list_select_related = ("tenant",)
    ordering = ("tenant",)
    default_message = "The hawkBit API is switched off."
    service_form = HawkbitSettingsForm
    fields = ("is_enabled", "polling_seconds")

    @admin.display(description="Settings")
    def settings_name(self, row: HawkbitSettings) -> str:
        return str(row)
