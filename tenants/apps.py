from importlib import import_module

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate

from provisioning.encryption import when_reencrypting


class TenantsConfig(AppConfig):
    name = "tenants"

    def ready(self) -> None:
        row_security = import_module("tenants.row_security")
        post_migrate.connect(row_security.raise_wall, dispatch_uid="tenants.wall")
        register(row_security.check_wall, Tags.database)
        import_module("tenants.sign_in").hear_of_sign_ins()
        when_reencrypting(
            "second_factors", import_module("tenants.second_factor").reencrypt
        )
