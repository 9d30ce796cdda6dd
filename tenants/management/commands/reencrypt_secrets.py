from collections.abc import Mapping
from typing import Any

from tenants import second_factor
from tenants.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Encrypt what is kept encrypted with the present SECRET_KEY."

    def run(self, **options: Any) -> tuple[Mapping[str, Any], str]:
        count = second_factor.reencrypt()
        return (
            {"second_factors": count},
            f"{count} second factors need SECRET_KEY_FALLBACKS no more.",
        )
