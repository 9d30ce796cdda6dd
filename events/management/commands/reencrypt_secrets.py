from collections.abc import Mapping
from typing import Any

from core.encryption import reencrypt_all
from tenants.context import every_tenant_scope
from tenants.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = "Encrypt what is kept encrypted with the present SECRET_KEY."

    def run(self, **options: Any) -> tuple[Mapping[str, Any], str]:
        with every_tenant_scope():
            counts = reencrypt_all()
        told = ", ".join(
            f"{count} {noun.replace('_', ' ')}" for noun, count in counts.items()
        )
        return counts, f"{told}: they need SECRET_KEY_FALLBACKS no more."
