from django.apps import AppConfig

from devices.registry.extension_points import device_page


class MetricsConfig(AppConfig):
    name = "devices.metrics"
    label = "metrics"

    def ready(self) -> None:
        device_page.register("devices.metrics.admin.device_panel.panel")
