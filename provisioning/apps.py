from importlib import import_module

from django.apps import AppConfig


class ProvisioningConfig(AppConfig):
    """The wiring: commands, templates, and what the OpenAPI document needs to know."""

    name = "provisioning"

    def ready(self) -> None:
        import_module("provisioning.celery")  # every process sends to our broker
        import_module("provisioning.api.schema")
