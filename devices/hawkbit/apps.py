from django.apps import AppConfig

from devices.registry.extension_points import device_page


class HawkbitConfig(AppConfig):
    name = "devices.hawkbit"
    label = "hawkbit"
    verbose_name = "Updates"

    def ready(self) -> None:
        device_page.register("devices.hawkbit.admin.device_panel.panel")
