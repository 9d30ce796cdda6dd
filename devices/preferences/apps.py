from importlib import import_module

from django.apps import AppConfig


class PreferencesConfig(AppConfig):
    name = "devices.preferences"
    label = "preferences"

    def ready(self) -> None:
        hooks = import_module("devices.registry.extension_points")
        hooks.when_showing(
            import_module("devices.preferences.admin.device_panel").panel
        )
        hooks.when_telling(
            import_module("devices.preferences.services.connect_response").tell
        )
