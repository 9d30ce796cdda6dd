from django.apps import AppConfig

from devices.registry.extension_points import device_header, device_page, site_page


class MaintenanceConfig(AppConfig):
    name = "devices.maintenance"
    label = "maintenance"
    verbose_name = "Alerts"

    def ready(self) -> None:
        device_header.register("devices.maintenance.admin.panels.device_header")
        device_page.register("devices.maintenance.admin.panels.device_panel")
        site_page.register("devices.maintenance.admin.panels.site_panel")
