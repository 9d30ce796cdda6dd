from django.apps import AppConfig

from devices.bulk.extension_points import bulk_actions
from devices.registry.extension_points import device_list_actions


class BulkConfig(AppConfig):
    name = "devices.bulk"
    label = "bulk"
    verbose_name = "Devices"

    def ready(self) -> None:
        bulk_actions.register("devices.bulk.services.details.actions", first=True)
        device_list_actions.register("devices.bulk.admin.list_actions.actions")
