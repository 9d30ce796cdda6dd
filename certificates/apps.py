from importlib import import_module

from django.apps import AppConfig


class CertificatesConfig(AppConfig):
    name = "certificates"

    def ready(self) -> None:
        import_module("certificates.services.subscribers")
        import_module("certificates.services.renewal_windows")
