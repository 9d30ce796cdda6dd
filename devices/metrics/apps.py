from importlib import import_module

from django.apps import AppConfig


class MetricsConfig(AppConfig):
    name = "devices.metrics"
    label = "metrics"

    def ready(self) -> None:
        hooks = import_module("devices.registry.extension_points")
        hooks.when_showing(import_module("devices.metrics.admin.device_panel").panel)
