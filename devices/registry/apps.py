from importlib import import_module

from django.apps import AppConfig

from events.extension_points import known_by


class DevicesConfig(AppConfig):
    name = "devices.registry"
    label = "devices"

    def ready(self) -> None:
        tags = import_module("devices.registry.services.tags")
        known_by(tags.names_of, tags.wearing)
