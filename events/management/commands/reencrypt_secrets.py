from collections.abc import Mapping
from typing import Any

from events import channel_secrets
from tenants import second_factor
from tenants.commands import OperatorCommand
from tenants.context import every_tenant_scope


class Command(OperatorCommand):
    help = "Encrypt what is kept encrypted with the present SECRET_KEY."

    def run(self, **options: Any) -> tuple[Mapping[str, Any], str]:
        factors = second_factor.reencrypt()
        with every_tenant_scope():
            webhooks = channel_secrets.reencrypt()
        return (
            {"second_factors": factors, "webhooks": webhooks},
            f"{factors} second factors and {webhooks} webhooks need"
            " SECRET_KEY_FALLBACKS no more.",
        )
