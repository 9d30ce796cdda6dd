from django.apps import AppConfig

from devices.metrics.extension_points import sample_stored
from devices.registry.extension_points import (
    device_header,
    device_page,
    device_replaced,
    site_deleting,
    site_page,
)
from events.extension_points import subscribers


class MonitoringConfig(AppConfig):
    name = "devices.monitoring"
    label = "monitoring"
    verbose_name = "Alerts"

    def ready(self) -> None:
        sample_stored.register("devices.monitoring.services.immediate_checks.check_sample")
        device_replaced.register("devices.monitoring.services.replacement.move_rules")
        site_deleting.register("devices.monitoring.services.site_deletion.forget_site")
        device_page.register("devices.monitoring.admin.device_panel.panel")
        device_header.register("devices.monitoring.admin.device_panel.device_header")
        site_page.register("devices.monitoring.admin.site_panel.panel")
        subscribers.register(
            "devices.monitoring.services.subscribers.open_incident_for_fleet_silence"
        )
        subscribers.register("devices.monitoring.services.subscribers.give_templates_to_new_tenant")
