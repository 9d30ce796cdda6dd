from collections.abc import Mapping
from typing import Any

from core.encryption import reencrypt_all
from tenants.context import every_tenant_scope
from tenants.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Re-encrypt all stored secrets with the current SECRET_KEY. Run it after a change"
        " of SECRET_KEY, before removing the former key from SECRET_KEY_FALLBACKS."
    )

    def run(self, **options: Any) -> tuple[Mapping[str, Any], str]:
        with every_tenant_scope():
            counts = reencrypt_all()
        summary = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items())
        return counts, (
            f"Re-encrypted {summary}. They no longer need the keys in SECRET_KEY_FALLBACKS."
        )
