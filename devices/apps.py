from importlib import import_module

from django.apps import AppConfig

from events.subjects import known_by


class DevicesConfig(AppConfig):
    name = "devices"

    def ready(self) -> None:
        tagging = import_module("devices.tagging")
        known_by(tagging.names_of, tagging.wearing)
