from django.apps import AppConfig

from core.encryption import reencryption
from devices.configurations.extension_points import server_keys
from devices.registry.extension_points import device_list_actions, device_page, device_retiring


class UpdatesConfig(AppConfig):
    name = "devices.updates"
    label = "updates"
    verbose_name = "Updates"

    def ready(self) -> None:
        reencryption.register("devices.updates.services.signing.reencrypt")
        server_keys.register("devices.updates.services.signing.configuration_keys")
        device_retiring.register(
            "devices.updates.services.status_changes.cancel_for_retired_device"
        )
        device_list_actions.register("devices.updates.admin.rollout_pages.list_actions")
        device_page.register("devices.updates.admin.device_panel.panel")
