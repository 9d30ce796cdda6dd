from django.apps import AppConfig

from devices.bulk.extension_points import bulk_actions
from devices.monitoring.extension_points import configuration_drifts
from devices.registry.extension_points import (
    connect_response,
    device_page,
    device_replaced,
    device_retiring,
    site_deleting,
    site_page,
)
from events.extension_points import subscribers


class ConfigurationsConfig(AppConfig):
    name = "devices.configurations"
    label = "configurations"
    verbose_name = "Configuration"

    def ready(self) -> None:
        configuration_drifts.register("devices.configurations.services.drift.announced_drifts")
        connect_response.register(
            "devices.configurations.services.connect_response.response_fields"
        )
        device_retiring.register("devices.configurations.services.effective.stop_waiting")
        device_replaced.register("devices.configurations.services.replacement.copy_layer")
        site_deleting.register("devices.configurations.services.site_deletion.forget_site")
        bulk_actions.register("devices.configurations.services.bulk_actions.actions")
        device_page.register("devices.configurations.admin.device_panel.panel")
        site_page.register("devices.configurations.admin.site_panel.panel")
        subscribers.register(
            "devices.configurations.services.subscribers.recalculate_after_tag_change"
        )
        subscribers.register(
            "devices.configurations.services.subscribers.recalculate_after_site_change"
        )
