from django.apps import AppConfig

from devices.bulk.extension_points import bulk_actions
from devices.registry.extension_points import (
    certificate_named,
    connect_response,
    device_page,
    device_retiring,
)
from events.extension_points import subscribers


class CertificatesConfig(AppConfig):
    name = "certificates"
    verbose_name = "Certificates"

    def ready(self) -> None:
        bulk_actions.register("certificates.services.bulk_actions.actions")
        device_page.register("certificates.admin.device_panel.panel")
        device_retiring.register(
            "certificates.services.subscribers.revoke_certificates_of_retired_device"
        )
        certificate_named.register("certificates.services.handover.confirm_named")
        connect_response.register("certificates.services.renewal_windows.connect_response_fields")
        subscribers.register("certificates.services.subscribers.destroy_key_of_revoked_certificate")
