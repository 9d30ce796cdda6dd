from importlib import import_module

from django.apps import AppConfig


class PreferencesConfig(AppConfig):
    name = "devices.preferences"
    label = "preferences"

    def ready(self) -> None:
        hooks = import_module("devices.hooks")
        hooks.when_showing(import_module("devices.preferences.portal").panel)
        hooks.when_telling(import_module("devices.preferences.telling").tell)
