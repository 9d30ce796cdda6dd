from django.apps import AppConfig

from core.encryption import reencryption
from devices.registry.extension_points import (
    connect_response,
    device_header,
    device_list_actions,
    device_page,
    device_retiring,
    site_page,
)


class RemoteControlConfig(AppConfig):
    name = "devices.remote_control"
    label = "remote_control"
    verbose_name = "Activity"

    def ready(self) -> None:
        reencryption.register("devices.remote_control.services.signing.reencrypt")
        connect_response.register(
            "devices.remote_control.services.connect_response.response_fields"
        )
        # Runs first, because its locks must be taken before those of other subscribers.
        device_retiring.register(
            "devices.remote_control.services.retirement.end_control", first=True
        )
        device_list_actions.register("devices.remote_control.admin.bulk_pages.list_actions")
        device_page.register("devices.remote_control.admin.control_page.panel")
        device_header.register("devices.remote_control.admin.screens_page.device_header")
        site_page.register("devices.remote_control.admin.site_panel.panel")
