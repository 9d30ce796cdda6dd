from importlib import import_module

from django.apps import AppConfig


class ProvisioningConfig(AppConfig):
    """Load the project wiring: the Celery application and the OpenAPI extensions."""

    name = "provisioning"

    def ready(self) -> None:
        import_module("provisioning.celery")  # configures the broker in every process
        import_module("provisioning.api.schema")
