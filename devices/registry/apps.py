from django.apps import AppConfig

from devices.registry.extension_points import site_page
from events.extension_points import device_names, devices_named, devices_with_tag


class DevicesConfig(AppConfig):
    name = "devices.registry"
    label = "devices"
    verbose_name = "Devices"

    def ready(self) -> None:
        site_page.register("devices.registry.admin.sites.panel", first=True)
        device_names.register("devices.registry.services.tags.device_names")
        devices_named.register("devices.registry.services.tags.ids_of_devices_named")
        devices_with_tag.register("devices.registry.services.tags.device_ids_with_tag")
