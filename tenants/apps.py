from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate

from tenants.postgresql import row_security


class TenantsConfig(AppConfig):
    name = "tenants"
    verbose_name = "Settings"

    def ready(self) -> None:
        post_migrate.connect(
            row_security.create_missing_policies, dispatch_uid="tenants.row_security"
        )
        register(row_security.check_row_security, Tags.database)
