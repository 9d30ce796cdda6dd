from django.apps import AppConfig

from devices.registry.extension_points import connect_response, device_page, device_replaced


class PreferencesConfig(AppConfig):
    name = "devices.preferences"
    label = "preferences"
    verbose_name = "Configuration"

    def ready(self) -> None:
        connect_response.register("devices.preferences.services.connect_response.response_fields")
        device_replaced.register("devices.preferences.services.device_settings.copy_settings")
        device_page.register("devices.preferences.admin.device_panel.panel")
