from django.apps import AppConfig

from events.extension_points import device_names, devices_with_tag


class DevicesConfig(AppConfig):
    name = "devices.registry"
    label = "devices"

    def ready(self) -> None:
        device_names.register("devices.registry.services.tags.device_names")
        devices_with_tag.register("devices.registry.services.tags.device_ids_with_tag")
